"""Cases of the extension io.modelcontextprotocol/skills for clients: what of it may be used."""

from collections.abc import Callable
from typing import Annotated, Any

from mcpcore_conformance.kit.client_serving import Answer
from mcpcore_conformance.kit.client_steps import directory, listing, scripted, skill
from mcpcore_conformance.kit.client_talk import ClientTalk, Outcome
from mcpcore_conformance.kit.messages import INVALID_PARAMS, Message
from mcpcore_conformance.kit.model import MODERN, Page
from mcpcore_conformance.kit.shapes import SKILLS
from mcpcore_conformance.kit.skills import digest
from mcpcore_conformance.kit.verdicts import check, need

page = Page("extensions/skills")
case = page.client(MODERN)

ROOT = "skill://kit"
URI, GUIDE, OTHER = f"{ROOT}/SKILL.md", f"{ROOT}/references/guide.md", f"{ROOT}/other.md"
FILES = {
    URI: "---\nname: kit\ndescription: Says what the kit says\n---\n\nRead references/guide.md.\n",
    GUIDE: "Say it twice.\n",
    OTHER: "Nobody lists this.\n",
}
loading = page.client(MODERN, **scripted(skill(URI)))


class _Skills:
    """Serves one skill, and notes which files were read."""

    def __init__(self, talk: ClientTalk, **changed: str) -> None:
        self._talk = talk
        self.read: list[Any] = []
        self.asked: list[str] = []
        self.entry: dict[str, Any] = {
            "uri": URI,
            "frontmatter": {"name": "kit", "description": "Says what the kit says"},
            "resources": [
                {"uri": uri, "digest": digest(data.encode()), "size": len(data.encode())}
                for uri, data in FILES.items()
                if uri != OTHER
            ],
        }
        self.files = dict(FILES)
        serving = talk.serving
        serving.capabilities = {"resources": {}, "extensions": {SKILLS: {}}}
        serving.hold.discard("resources/read")
        serving.by["skills/list"] = self._noting(lambda message: {"skills": [self.entry]})
        serving.by["skills/get"] = self._noting(lambda message: {"skill": self.entry})
        serving.by["resources/read"] = self._contents
        serving.by["resources/directory/read"] = self._noting(lambda message: {"resources": []})

    def change(self, uri: str, data: str) -> None:
        """Serve something else, of which the entry knows nothing."""
        self.files[uri] = data

    def describe(self, uri: str, data: str) -> None:
        """Serve something else, with its digest and its size in the entry."""
        self.change(uri, data)
        for each in self.entry["resources"]:
            if each["uri"] == uri:
                each |= {"digest": digest(data.encode()), "size": len(data.encode())}

    async def loaded(self) -> Outcome:
        """Let the client do its script; skips a client that does not come to the first file."""
        await self._talk.open()
        outcome = await self._talk.step()
        if URI not in self.read:
            self._talk.skip(f"the client does not load skills: {outcome}")
        return outcome

    def _noting(self, answer: Callable[[Message], Answer]) -> Callable[[Message], Answer]:
        def noted(message: Message) -> Answer:
            self.asked.append(message.method)
            return answer(message)

        return noted

    def _contents(self, message: Message) -> Answer:
        uri = message.params.get("uri")
        self.read.append(uri)
        if uri not in self.files:
            return {"error": {"code": INVALID_PARAMS, "message": f"There is no {uri}"}}
        return {"contents": [{"uri": uri, "mimeType": "text/markdown", "text": self.files[uri]}]}


Served = Annotated[_Skills, _Skills]


@loading.must(
    "getting-a-skill", "The contents of the files.", **scripted(skill(URI, "references/guide.md"))
)
async def loads(talk: ClientTalk) -> None:
    """A skill that is not listed is loaded by its URI, and its files are read."""
    outcome = await _Skills(talk).loaded()
    check(outcome.good, f"it ended with {outcome}")
    wanted = {"SKILL.md": FILES[URI], "references/guide.md": FILES[GUIDE]}
    check(outcome.result == {"files": wanted}, f"the files came as {outcome.result!r:.300}")


@loading.must("integrity-and-verification/client-digest", "The skill is not loaded.")
async def other_bytes(served: Served) -> None:
    """A SKILL.md with another digest than its entry says is not used."""
    served.change(URI, FILES[URI].replace("guide", "Guide"))
    check(not (await served.loaded()).good, "it was loaded")


@loading.must(
    "integrity-and-verification/client-digest-of-a-file",
    "The file is not used.",
    **scripted(skill(URI, "references/guide.md")),
)
async def other_file(served: Served) -> None:
    """A supporting file with another digest than its entry says is not used."""
    served.change(GUIDE, FILES[GUIDE].replace("twice", "never"))
    check(not (await served.loaded()).good, "it was used")


@loading.must("integrity-and-verification/client-size", "The skill is not loaded.")
async def other_size(served: Served) -> None:
    """A SKILL.md with another size than its entry says is not used, whatever its digest."""
    served.entry["resources"][0]["size"] += 1
    check(not (await served.loaded()).good, "it was loaded")


@loading.must("integrity-and-verification/client-frontmatter", "The skill is not loaded.")
async def other_frontmatter(served: Served) -> None:
    """A SKILL.md whose front matter is not that of its entry is not used."""
    served.describe(URI, FILES[URI].replace("Says what the kit says", "Reads your mail"))
    check(not (await served.loaded()).good, "it was loaded")


@loading.must("integrity-and-verification", "The skill is not loaded.")
async def unlisted_field(served: Served) -> None:
    """A field of the front matter that the entry does not have is a difference."""
    served.describe(URI, FILES[URI].replace("\n---\n\n", "\nallowed-tools: Bash\n---\n\n"))
    check(not (await served.loaded()).good, "it was loaded")


@loading.must(
    "integrity-and-verification", "The file is not asked for.", **scripted(skill(URI, "other.md"))
)
async def unlisted_file(served: Served) -> None:
    """A file that the entry does not list is not read."""
    outcome = await served.loaded()
    check(OTHER not in served.read, "it was asked for")
    check(not outcome.good, "it was used")


@case.must("resources", "The skill is not loaded.", **scripted(skill(URI)))
async def no_resources(talk: ClientTalk, served: Served) -> None:
    """An entry without resources is invalid."""
    del served.entry["resources"]
    await talk.open()
    outcome = await talk.step()
    need(served.asked, f"the client does not load skills: {outcome}")
    check(not outcome.good, "it was loaded")


@case.must("integrity-and-verification", "No resources/read.", **scripted(listing("skills")))
async def no_prefetch(talk: ClientTalk, served: Served) -> None:
    """Listing skills fetches no files of theirs."""
    await talk.open()
    outcome = await talk.step()
    need(served.asked, f"the client does not list skills: {outcome}")
    check(not served.read, f"{served.read[:1]} was read")


@case.must(
    "capability-negotiation",
    "No resources/directory/read.",
    **scripted(listing("skills"), directory(ROOT)),
)
async def no_directories(talk: ClientTalk, served: Served) -> None:
    """Directories are not read where the server does not declare directoryRead."""
    await talk.open()
    outcome = await talk.step(1)
    need("skills/list" in served.asked, f"the client does not list skills: {outcome}")
    check("resources/directory/read" not in served.asked, "a directory was read")
