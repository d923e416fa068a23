"""Skills: directories of files with instructions, which a server serves as resources.

Source: the specification of the extension ``io.modelcontextprotocol/skills``, stable version.
"""

from typing import Any, Literal

from mcpcore.spec.types import base
from mcpcore.spec.types.model import Model
from mcpcore.spec.types.resources import Resource


class SkillResource(Model, kw_only=True):
    """File of a skill; ``digest`` is ``sha256:`` with 64 hex digits, ``size`` in bytes."""

    uri: str
    digest: str
    size: int


class Skill(Model, kw_only=True):
    """Entry of a skill: the URI of its ``SKILL.md``, that file's front matter, and all its files.

    ``resources`` is ``"dynamic"`` if the contents are generated and have no stable digests.
    """

    uri: str
    frontmatter: dict[str, Any]
    resources: list[SkillResource] | Literal["dynamic"]


class ListSkillsResult(base.CacheablePage, kw_only=True):
    """Result of ``skills/list``: one page of skills."""

    skills: list[Skill]


class GetSkillParams(base.RequestParams, kw_only=True):
    """Params of ``skills/get``; ``uri`` is that of the skill's ``SKILL.md``."""

    uri: str


class GetSkillResult(base.CacheableResult, kw_only=True):
    """Result of ``skills/get``: the entry as it is now."""

    skill: Skill


class ReadDirectoryParams(base.PaginatedParams, kw_only=True):
    """Params of ``resources/directory/read``; ``uri`` has no slash at its end."""

    uri: str


class ReadDirectoryResult(base.PaginatedResult, kw_only=True):
    """Result of ``resources/directory/read``: the direct children of a directory."""

    resources: list[Resource]
