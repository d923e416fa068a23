"""Servers over stdio whose tools have names of their own and ask their client, or are tasks.

Each is right but for one fault, which its argument names; some of these are no faults, but ways of
its own that a server may have.
"""

COMMON = r'''
import base64, hmac, json, os, queue, sys, threading, time, uuid
from datetime import UTC, datetime

FAULT = sys.argv[1]
TEXT = {"type": "string"}
ENDS = ("completed", "failed", "cancelled")
lock = threading.Lock()

def schema(*names):
    return {"type": "object", "properties": dict.fromkeys(names, TEXT), "required": [*names]}

def described(name, *names, reads=True, **more):
    hints = {"readOnlyHint": True} if reads else {"destructiveHint": False}
    found = {"inputSchema": schema(*names), "annotations": hints}
    return {"name": name, "description": name.title(), **found, **more}

class Refused(Exception):
    def __init__(self, code, data=None):
        self.error = {"code": code, "message": "no", **({} if data is None else {"data": data})}

def put(**value):
    text = json.dumps({"jsonrpc": "2.0", **value})
    if FAULT == "a key twice":
        text = text.replace('"inputRequests": {', '"inputRequests": {"day": {}, ', 1)
    with lock:
        print(text, flush=True)

def fail(code, id=None):
    put(id=id, error={"code": code, "message": "no"})

def strict(constant):
    raise ValueError(constant)

def messages():
    """What comes, as far as it is messages; the rest is refused."""
    for line in sys.stdin.buffer:
        if not line.strip():
            continue
        try:
            said = json.loads(line.decode(), parse_constant=strict)
        except (ValueError, RecursionError):
            fail(-32700)
            continue
        if not isinstance(said, dict):
            fail(-32600)
            continue
        id, method = said.get("id"), said.get("method")
        known = isinstance(id, (str, int)) and not isinstance(id, bool)
        answers = "method" not in said and ("result" in said or "error" in said)
        sound = said.get("jsonrpc") == "2.0" and isinstance(method, str)
        if answers or (sound and (known or "id" not in said)):
            yield said
        else:
            fail(-32600, id if known else None)

def params_of(said):
    params = said.get("params", {})
    if not isinstance(params, dict):
        raise Refused(-32602)
    return params

def called(params, tools):
    """The tool that is called, its arguments (None: they are not good), and those that it needs."""
    name, arguments = params.get("name"), params.get("arguments", {})
    found = [each for each in tools if each["name"] == name]
    if not found or not isinstance(arguments, dict):
        raise Refused(-32602)
    wanted = found[0]["inputSchema"]["required"]
    good = all(isinstance(arguments.get(each), str) for each in wanted)
    return found[0], arguments if good else None, [arguments.get(each) for each in wanted]
'''

_MODERN = r'''
PREFIX, VERSION = "io.modelcontextprotocol/", "2026-07-28"
TASKS, KEY = {}, os.urandom(16)
HINTS = {"ttlMs": 1000, "cacheScope": "public"}
LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
TOOLS = [
    described("weather", "city"),
    described("reserve", "place", reads=False),
    described("rent", "place"),
    described("survey", "topic"),
    described("bake", "what", reads=False),
    described("roast", "what"),
    described("simmer", "what"),
    {"name": "erase", "description": "Erases it.", "inputSchema": schema("place")},
]
PROMPTS = [{"name": "letter"}]
DAY = {"message": "Which day?", "requestedSchema": schema("day")}
QUESTIONS = {
    "day": ("elicitation", "elicitation/create", DAY),
    "words": ("sampling", "sampling/createMessage", {
        "messages": [{"role": "user", "content": {"type": "text", "text": "Say it."}}],
        "maxTokens": 10,
    }),
    "places": ("roots", "roots/list", {}),
}
ANSWERS = {"day": "content", "words": "content", "places": "roots"}

class Ask(Exception):
    """Input is required."""

def seal(value):
    raw = json.dumps(value).encode()
    mac = b"" if FAULT == "state without a seal" else hmac.digest(KEY, raw, "sha256")
    return ".".join(base64.urlsafe_b64encode(each).decode() for each in (raw, mac) if each)

def sealed(state):
    """What is in a state that is good."""
    if FAULT == "takes any state":
        return {}
    if FAULT == "state of no type" and not isinstance(state, str):
        return {}
    if not isinstance(state, str):
        raise Refused(-32602)
    try:
        more = "==" if FAULT == "reads leniently" else ""
        raw, *mac = (base64.urlsafe_b64decode(each + more) for each in state.split("."))
        value = json.loads(raw)
        same = seal(value) == state
        if FAULT == "reads leniently":
            same = mac == [hmac.digest(KEY, raw, "sha256")]
    except (ValueError, TypeError):
        raise Refused(-32602) from None
    if not same:
        raise Refused(-32602)
    return value

WHO = {PREFIX + "serverInfo": {"name": "asks", "version": "1"}}

def result(**more):
    return {"resultType": "complete", "_meta": WHO, **more}

def text(words, **more):
    return result(content=[{"type": "text", "text": words}], **more)

ASKED, FIRST = set(), {}

def question(key):
    _, method, params = QUESTIONS[key]
    if FAULT == "asks for a completion":
        return {"method": "completion/complete", "params": {}}
    return {"method": method, "params": params}

def answers(params, caps, about, keys):
    """The good answers to these questions; raises Ask if one is missing."""
    modes = caps.get("elicitation")
    no_forms = isinstance(modes, dict) and "url" in modes and "form" not in modes
    missing = [QUESTIONS[key][0] for key in keys if QUESTIONS[key][0] not in caps]
    missing += ["elicitation"] if "day" in keys and no_forms else []
    if missing and FAULT != "asks everybody":
        raise Refused(-32021, {"requiredCapabilities": {missing[0]: {}}})
    given = params.get("inputResponses", {})
    if not isinstance(given, dict):
        if FAULT != "answers in a list":
            raise Refused(-32602)
        given = {}
    if FAULT == "counts on retries":
        if "inputResponses" not in params and str(about) in ASKED:
            raise Refused(-32602)
        ASKED.add(str(about))
    if "requestState" in params:
        state = sealed(params["requestState"])
        if FAULT == "state of all requests":
            state = {"of": about[0], "with": about[1]}
        if FAULT == "state of all arguments":
            state = {**state, "with": about[1]}
        if FAULT != "takes any state" and isinstance(params["requestState"], str):
            if (state.get("of"), state.get("with")) != about:
                raise Refused(-32602)
    if FAULT == "error for what is too much" and set(given) - {*keys}:
        raise Refused(-32602)
    if FAULT == "mixes answers" and given:
        given = FIRST.setdefault(about[0], given)
    good = {key: given[key] for key in keys if right(key, given.get(key))}
    stateful = "requestState" in params or about[0] == "survey"
    if len(good) < len(keys) or not stateful:
        if FAULT == "error for what is missing" and "inputResponses" in params:
            raise Refused(-32602)
        if FAULT == "asks on the wire" and "roots" in caps:
            put(id="wire", method="roots/list")
        found = {"inputRequests": {key: question(key) for key in keys}}
        if about[0] != "survey":
            found["requestState"] = seal(
                {"of": about[0], "with": about[1], "price": 10, "nonce": os.urandom(6).hex()}
            )
        if FAULT == "neither requests nor state":
            found = {}
        more = HINTS if FAULT == "keeps what it asks" else {}
        FIRST.pop(about[0], None)
        raise Ask({"resultType": "input_required", "_meta": WHO, **found, **more})
    return good

def right(key, answer):
    if FAULT == "takes any answer":
        return answer is not None
    if not isinstance(answer, dict):
        return False
    if key == "places":
        return isinstance(answer.get("roots"), list)
    if key == "words":
        content = answer.get("content")
        said = isinstance(content, dict) and isinstance(answer.get("model"), str)
        return said and answer.get("role") == "assistant"
    if answer.get("action") in ("decline", "cancel"):
        return True
    content = answer.get("content")
    accepted = answer.get("action") == "accept" and isinstance(content, dict)
    return accepted and isinstance(content.get("day"), str)

def day(answer):
    content = answer.get("content") if isinstance(answer, dict) else None
    return content.get("day") if isinstance(content, dict) else None

def now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

def made(name, what):
    id = f"task-{len(TASKS)}" if FAULT == "ids in a row" else uuid.uuid4().hex
    at = "just now" if FAULT == "times of its own" else now()
    TASKS[id] = {
        "task": {
            "taskId": id,
            "status": "working",
            "createdAt": at,
            "lastUpdatedAt": at,
            "ttlMs": 60000,
            "pollIntervalMs": 20,
        },
        "end": time.monotonic() + 0.1,
        "asks": ["day", "words"] if name == "roast" else [],
        "what": what,
    }
    return TASKS[id]

def seen(job):
    """The task as it is now."""
    task = job["task"]
    if FAULT == "ended tasks work again" and task["status"] == "completed":
        return {name: task[name] for name in task if name != "result"} | {"status": "working"}
    if task["status"] in ENDS:
        return task
    if job["asks"]:
        asked = {key: question(key) for key in job["asks"]}
        task.update(status="input_required", inputRequests=asked)
    elif time.monotonic() > job["end"]:
        task.update(status="completed", result=text(f"{job['what']} is done"))
        if FAULT == "a result elsewhere":
            task["content"] = task.pop("result")["content"]
        if FAULT == "a status of its own":
            return {**task, "status": "done"}
    return task

def about_tasks(method, params, caps):
    extensions = caps.get("extensions")
    if not isinstance(extensions, dict) or PREFIX + "tasks" not in extensions:
        raise Refused(-32021, {"requiredCapabilities": {"extensions": {PREFIX + "tasks": {}}}})
    id = params.get("taskId")
    job = TASKS.get(id) if isinstance(id, str) else None
    if job is None:
        raise Refused(-32602)
    task = seen(job)
    if method == "tasks/get":
        return result(**task)
    if task["status"] in ENDS and FAULT == "refuses to cancel again":
        raise Refused(-32602)
    if task["status"] in ENDS:
        return result(**(task if FAULT == "cancels with the task" else {}))
    if method == "tasks/cancel":
        task.pop("inputRequests", None)
        task["status"] = "cancelled"
    else:
        given = params.get("inputResponses")
        if not isinstance(given, dict):
            raise Refused(-32602)
        if FAULT == "takes unknown keys":
            given = dict(zip(job["asks"], given.values()))
        if FAULT == "refuses unknown keys" and set(given) - {*job["asks"]}:
            raise Refused(-32602)
        left = [key for key in job["asks"] if not right(key, given.get(key))]
        if FAULT == "forgets what is left" and len(left) < len(job["asks"]):
            left = []
        if FAULT != "asks for what it was told":
            job["asks"] = left
        if not job["asks"]:
            task.pop("inputRequests", None)
            task["status"] = "working"
    return result()

def call(params, caps):
    tool, arguments, (first,) = called(params, TOOLS)
    name = tool["name"]
    if arguments is None:
        return text("what?", isError=True)
    if name == "weather":
        return text(f"it rains in {first}")
    if name in ("reserve", "rent"):
        found = answers(params, caps, (name, arguments), ["day"])
        return text(f"{first} is taken for {day(found['day'])}")
    if name == "survey":
        answers(params, caps, (name, arguments), [*QUESTIONS])
        return text("asked")
    if name in ("bake", "roast", "simmer"):
        extensions = caps.get("extensions")
        follows = isinstance(extensions, dict) and PREFIX + "tasks" in extensions
        if not follows and name == "simmer":
            code = -32603 if FAULT == "a need of its own" else -32021
            raise Refused(code, {"requiredCapabilities": {"extensions": {PREFIX + "tasks": {}}}})
        if not follows and FAULT != "tasks for everybody":
            return text(f"{first} is done")
        return {"resultType": "task", **made(name, first)["task"]}
    raise AssertionError("nobody may call this tool")

def handled(method, params):
    meta = params.get("_meta")
    if method == "initialize" and not isinstance(meta, dict):
        raise Refused(-32022, {"supported": [VERSION], "requested": "older"})
    if not isinstance(meta, dict) or not isinstance(meta.get(PREFIX + "protocolVersion"), str):
        raise Refused(-32602)
    version = meta[PREFIX + "protocolVersion"]
    if version != VERSION:
        raise Refused(-32022, {"supported": [VERSION], "requested": version})
    caps = meta.get(PREFIX + "clientCapabilities")
    who = meta.get(PREFIX + "clientInfo", {"name": "", "version": ""})
    token = meta.get("progressToken", 0)
    named = isinstance(who, dict) and isinstance(who.get("name"), str) and "version" in who
    if not isinstance(caps, dict) or not named or not isinstance(who["version"], str):
        raise Refused(-32602)
    if meta.get(PREFIX + "logLevel", "info") not in LEVELS:
        raise Refused(-32602)
    if isinstance(token, bool) or not isinstance(token, (str, int)):
        raise Refused(-32602)
    if method == "server/discover":
        offers = {"tools": {}, "prompts": {}, "extensions": {PREFIX + "tasks": {}}}
        return result(supportedVersions=[VERSION], capabilities=offers, **HINTS)
    if method in ("tools/list", "prompts/list"):
        if "cursor" in params:
            raise Refused(-32602)
        if method == "tools/list":
            return result(tools=TOOLS, **HINTS)
        return result(prompts=PROMPTS, **HINTS)
    if method == "tasks/list" and FAULT == "a list of tasks":
        return result(tasks=[])
    if method in ("tasks/get", "tasks/update", "tasks/cancel"):
        return about_tasks(method, params, caps)
    if method == "tools/call":
        return call(params, caps)
    if method == "prompts/get":
        if params.get("name") != "letter" or not isinstance(params.get("arguments", {}), dict):
            raise Refused(-32602)
        found = answers(params, caps, ("letter", {}), ["day"])
        words = {"type": "text", "text": f"Write on {day(found['day'])}."}
        return result(messages=[{"role": "user", "content": words}])
    raise Refused(-32601)

for said in messages():
    if "method" not in said or "id" not in said:
        continue
    try:
        put(id=said["id"], result=handled(said["method"], params_of(said)))
    except Ask as asked:
        put(id=said["id"], result=asked.args[0])
    except Refused as refused:
        put(id=said["id"], error=refused.error)
'''

_LEGACY = r'''
VERSION = "2025-11-25"
RELATED = "io.modelcontextprotocol/related-task"
DECLARED, TASKS, WAITING, LIVE, CANCELLED = {}, {}, {}, set(), set()
state = {"opened": False, "asked": 0}

OWN_WAYS = FAULT == "ways of its own"
OPTIONAL = {"execution": {"taskSupport": "optional"}}
TOOLS = [
    described("weather", "city"),
    described("reserve", "place", reads=False),
    described("pay", "what"),
    described("sum_up", "words"),
    described("look_around"),
    described("bake", "what", **OPTIONAL),
    described("roast", "what", **OPTIONAL),
    described("simmer", "what", execution={"taskSupport": "required"}),
]
if FAULT == "asks late":
    TOOLS += [described("ponder", "what"), described("linger", "what")]
if FAULT == "takes long":
    TOOLS += [described(f"age_{n}", "what", **OPTIONAL) for n in range(9)]
FORM = {
    "type": "object",
    "properties": {
        "day": TEXT,
        "seats": {"type": "integer", "default": 2},
        "table": {"type": "string", "enum": ["in", "out"]},
    },
    "required": ["day"],
}
SAMPLE = {
    "messages": [{"role": "user", "content": {"type": "text", "text": "Say it."}}],
    "maxTokens": 10,
}

def text(words, **more):
    return {"content": [{"type": "text", "text": words}], **more}

def ask(method, params, declared=True):
    """Asks the client, and waits for its answer; None: it has failed, or may not be asked."""
    if not declared and FAULT != "asks everybody":
        return None
    with lock:
        state["asked"] += 1
        id = state["asked"] if OWN_WAYS else f"q{state['asked']}"
    answers = WAITING[id] = queue.Queue()
    put(id=id, method=method, **({"params": params} if params else {}))
    return answers.get().get("result")

def form():
    if FAULT == "a form in a form":
        return {**FORM, "properties": {**FORM["properties"], "day": FORM}}
    if FAULT == "a default of another type":
        seats = {"type": "integer", "default": "two"}
        return {**FORM, "properties": {**FORM["properties"], "seats": seats}}
    if FAULT == "choices twice":
        twice = {"type": "string", "enum": ["in"], "oneOf": [{"const": "in", "title": "In"}]}
        return {**FORM, "properties": {**FORM["properties"], "table": twice}}
    return FORM

def elicit(**more):
    wanted = DECLARED.get("elicitation")
    forms = isinstance(wanted, dict) and ("form" in wanted or "url" not in wanted)
    if FAULT == "forms for those who take URLs" and isinstance(wanted, dict):
        forms = True
    if FAULT == "wants forms to be declared":
        forms = isinstance(wanted, dict) and "form" in wanted
    params = {"message": "Which day?", "requestedSchema": form(), **more}
    if FAULT == "no message":
        params["message"] = ""
    found = ask("elicitation/create", params, forms)
    if not isinstance(found, dict) or found.get("action") not in ("accept", "decline", "cancel"):
        if FAULT == "takes any answer" and isinstance(found, dict):
            return "some day"
        return None if found is None or FAULT == "dies of answers" else False
    if found["action"] != "accept":
        return ""
    content = found.get("content")
    good = isinstance(content, dict) and isinstance(content.get("day"), str)
    good = good and isinstance(content.get("seats", 2), int)
    good = good and content.get("table", "in") in ("in", "out")
    if FAULT == "takes any form":
        return str(content)
    return content["day"] if good else False

def reserved(place, **more):
    day = elicit(**more)
    if day is None or day is False:
        return text("nobody can be asked" if day is None else "what?", isError=True)
    return text(f"{place} is taken for {day}" if day else f"{place} is left")

def paid(what):
    wanted = DECLARED.get("elicitation")
    if not isinstance(wanted, dict) or ("url" not in wanted and FAULT != "URLs for everybody"):
        return text("nobody can be asked", isError=True)
    url = "not a place" if FAULT == "a URL that is none" else "https://example.com/pay"
    if FAULT == "a URL in the open":
        url = "http://example.com/pay"
    more = {} if FAULT == "no elicitationId" else {"elicitationId": uuid.uuid4().hex}
    found = ask("elicitation/create", {"mode": "url", "message": "Pay", "url": url, **more})
    good = isinstance(found, dict) and found.get("action") == "accept"
    return text(f"{what} is paid") if good else text("not paid", isError=True)

def summed_up(words):
    params = SAMPLE if FAULT != "a sample of nothing" else {**SAMPLE, "messages": []}
    if FAULT == "a sample without end":
        params = {"messages": SAMPLE["messages"]}
    if FAULT == "tools for everybody":
        params = {**SAMPLE, "tools": [{"name": "add", "inputSchema": {"type": "object"}}]}
    if FAULT == "wants context":
        params = {**SAMPLE, "includeContext": "allServers"}
    found = ask("sampling/createMessage", params, "sampling" in DECLARED)
    content = found.get("content") if isinstance(found, dict) else None
    good = isinstance(content, dict) and isinstance(content.get("text"), str)
    good = good and found.get("role") == "assistant" and isinstance(found.get("model"), str)
    if FAULT == "takes any sample" and isinstance(found, dict):
        return text("short")
    return text("short") if good else text("nothing was said", isError=True)

def looked_around():
    params = {"depth": 2} if FAULT == "roots of some depth" else None
    found = ask("roots/list", params, "roots" in DECLARED)
    roots = found.get("roots") if isinstance(found, dict) else None
    if FAULT == "dies of roots" and not isinstance(roots, list):
        os._exit(1)
    if not isinstance(roots, list) or not all(isinstance(each.get("uri"), str) for each in roots):
        return text("nothing to see", isError=True)
    return text(" ".join(each["uri"] for each in roots))

def now(fraction="123"):
    if OWN_WAYS:  # without the zeros at the end
        return f"2026-01-02T03:04:05.{fraction}Z"
    return datetime.now(UTC).isoformat()

def seen(job):
    job["task"]["lastUpdatedAt"] = now()
    return dict(job["task"])

def run(job, name, first):
    """What a task does: bakes for a moment, or asks first."""
    if name == "roast":
        named = {"_meta": {RELATED: {"taskId": job["id"]}}}
        if FAULT == "questions of no task":
            named = {}
        if FAULT != "works while it waits":
            job["task"]["status"] = "input_required"
        job["result"] = reserved(first, **named)
    else:
        time.sleep(30 if name.startswith("age") else 0.3)
        job["result"] = text(f"{first} is done")
    if FAULT != "never cancels" and job["task"]["status"] == "cancelled":
        return
    job["task"]["status"] = "done" if FAULT == "a status of its own" else "completed"
    job["over"].set()

def made(name, first, ttl):
    id = f"task-number-{len(TASKS)}-of-bake" if FAULT == "ids in a row" else uuid.uuid4().hex
    at = "today" if FAULT == "times of its own" else now("12")
    task = {"taskId": id, "status": "working", "createdAt": at, "lastUpdatedAt": now(),
            "ttl": None, "pollInterval": 20}
    if FAULT == "no ttl":
        del task["ttl"]
    if FAULT == "begins as submitted":
        task["status"] = "input_required"
    job = TASKS[id] = {"id": id, "task": task, "over": threading.Event(), "result": None}
    found = dict(task)
    before = state["asked"]
    threading.Thread(target=run, args=(job, name, first), daemon=True).start()
    while FAULT == "questions before the answer" and name == "roast" and state["asked"] == before:
        time.sleep(0.001)
    return {"task": found}

def about_tasks(method, params):
    if method == "tasks/list":
        if "cursor" in params:
            raise Refused(-32602)
        listed = [seen(job) for job in TASKS.values()]
        return {"tasks": listed[:-1] if FAULT == "a list with a gap" else listed}
    id = params.get("taskId")
    job = TASKS.get(id) if isinstance(id, str) else None
    if job is None:
        raise Refused(-32602)
    if method == "tasks/get":
        more = {"_meta": {RELATED: {"taskId": id}}} if FAULT == "named twice" else {}
        return {**seen(job), **more}
    if method == "tasks/cancel":
        if job["task"]["status"] in ENDS and FAULT != "cancels what has ended":
            raise Refused(-32602)
        job["task"]["status"] = "cancelled"
        job["over"].set()
        return seen(job)
    if FAULT != "results before the end":
        job["over"].wait()
    if job["result"] is None and FAULT != "results before the end":
        raise Refused(-32602)
    found = job["result"] or text("not yet")
    named = {} if FAULT == "results of no task" else {"_meta": {RELATED: {"taskId": id}}}
    return {**found, **named}

def call(params):
    tool, arguments, wanted = called(params, TOOLS)
    if arguments is None:
        return text("what?", isError=True)
    name, first = tool["name"], (wanted or [""])[0]
    support = tool.get("execution", {}).get("taskSupport", "forbidden")
    if "task" in params:
        if support == "forbidden" and FAULT != "tasks of every tool":
            raise Refused(-32601)
        return made(name, first, params["task"])
    if support == "required" and FAULT != "simmers at once":
        raise Refused(-32601)
    if name == "weather":
        return text(f"it rains in {first}")
    if name == "pay":
        return paid(first)
    if name == "sum_up":
        return summed_up(first)
    if name == "look_around":
        return looked_around()
    if name in ("ponder", "linger"):
        time.sleep(2.3 if name == "ponder" else 0.6)
    asks = name in ("reserve", "roast", "ponder")
    return reserved(first) if asks else text(f"{first} is done")

def handled(method, params):
    if method == "initialize":
        version, declared = params.get("protocolVersion"), params.get("capabilities")
        good = isinstance(declared, dict) and isinstance(params.get("clientInfo"), dict)
        if not isinstance(version, str) or not good or state["opened"]:
            raise Refused(-32602)
        DECLARED.update(declared)
        state["opened"] = True
        tasks = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
        return {
            "protocolVersion": VERSION,
            "capabilities": {"tools": {}, "tasks": tasks},
            "serverInfo": {"name": "asks", "version": "1"},
        }
    if method == "ping":
        return {}
    if not state["opened"]:
        raise Refused(-32600)
    if method == "tools/list":
        if "cursor" in params:
            raise Refused(-32602)
        return {"tools": TOOLS}
    if method == "tools/call":
        return call(params)
    if method in ("tasks/list", "tasks/get", "tasks/cancel", "tasks/result"):
        return about_tasks(method, params)
    raise Refused(-32601)

def answer(said):
    try:
        found = handled(said["method"], params_of(said))
        LIVE.discard(repr(said["id"]))
        if repr(said["id"]) not in CANCELLED:
            put(id=said["id"], result=found)
    except Refused as refused:
        put(id=said["id"], error=refused.error)

for said in messages():
    id, method = said.get("id"), said.get("method")
    if method is None:
        if isinstance(id, (str, int)) and id in WAITING:
            WAITING.pop(id).put(said)
    elif "id" in said and method in ("tools/call", "tasks/result"):
        LIVE.add(repr(id))
        threading.Thread(target=answer, args=(said,), daemon=True).start()
    elif "id" in said:
        answer(said)
    elif method == "notifications/cancelled" and isinstance(said.get("params"), dict):
        CANCELLED.update({repr(said["params"].get("requestId"))} & LIVE)
    elif method == "notifications/initialized" and OWN_WAYS and "roots" in DECLARED:
        with lock:
            state["asked"] += 1
            id = state["asked"]
        put(id=id, method="roots/list")
os._exit(0)
'''

MODERN, LEGACY = COMMON + _MODERN, COMMON + _LEGACY
