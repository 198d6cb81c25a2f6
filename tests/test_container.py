"""Dockerfile.l4t and its compose file, as far as they can be checked without a container engine."""

import json
import re
import shlex
from pathlib import Path

import pytest
from edgesynth_agent.cli import main

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile.l4t"
COMPOSE = (ROOT / "jetson" / "compose.yaml").read_text()
REQUIREMENTS = (ROOT / "jetson" / "container-requirements.txt").read_text()


def instructions(text):
    """(keyword, arguments) of each instruction: continued lines are one, comments are left out."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [tuple(line.strip().split(None, 1)) for line in joined.splitlines() if line.strip()]


def complaints(text, root):
    """What is wrong with a Dockerfile, one line each."""
    found = []
    steps = instructions(text)
    arguments = dict(value.split("=", 1) for keyword, value in steps if keyword == "ARG" and "=" in value)
    stages = [re.search(r"(?i) as (\S+)$", value) for keyword, value in steps if keyword == "FROM"]
    names = {stage[1] for stage in stages if stage}
    users = []
    for keyword, value in steps:
        if keyword == "FROM":
            users = []
            image = re.sub(r"\$\{(\w+)\}", lambda name: arguments.get(name[1], ""), value.split()[0])
            if not re.fullmatch(r"\S+:[\w.-]+", image) or image.endswith(":latest"):
                found.append(f"FROM: '{image}' is not pinned")
        elif keyword == "ADD":
            found.append("ADD: use COPY, or fetch in a RUN that checks")
        elif keyword == "COPY":
            *sources, _ = [part for part in value.split() if not part.startswith("--")]
            stage = re.search(r"--from=(\S+)", value)
            if stage and stage[1] not in names:
                found.append(f"COPY: no stage '{stage[1]}'")
            found += [f"COPY: no '{path}'" for path in sources if not stage and not (root / path).exists()]
        elif keyword == "RUN":
            found += run_complaints(value)
        elif keyword == "USER":
            users.append(value)
        elif keyword in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
            form = value[value.index("CMD ") + 4 :] if keyword == "HEALTHCHECK" else value
            if not is_exec_form(form):
                found.append(f"{keyword}: not in exec form")
        if keyword in ("ARG", "ENV") and re.search(r"(?i)passw|secret|token|credential|_key\b", value):
            found.append(f"{keyword}: a secret?")
    if not users or users[-1].split(":")[0] in ("root", "0"):
        found.append("USER: runs as root")
    found += [f"{keyword}: missing" for keyword in ("HEALTHCHECK", "ENTRYPOINT") if keyword not in dict(steps)]
    return found


def run_complaints(command):
    if "apt-get install" in command:
        if "rm -rf /var/lib/apt/lists/*" not in command:
            yield "RUN: the lists of apt stay in the layer"
        if command.count("apt-get install") != command.count("--no-install-recommends"):
            yield "RUN: apt-get install without --no-install-recommends"
        if "apt-get update" not in command:
            yield "RUN: apt-get install without apt-get update in the same layer"
    if re.search(r"(curl|wget)[^&|]*\|", command) or "sudo " in command:
        yield "RUN: pipes a download, or sudo"
    if re.search(r"http://", command):
        yield "RUN: fetches without TLS"
    for install in re.findall(r"pip install ([^&]*)", command):
        if "--no-cache-dir" not in install:
            yield "RUN: pip leaves its cache"
        wanted = [word for word in shlex.split(re.sub(r"\$\([^)]*\)", "", install)) if re.match(r"[a-zA-Z]", word)]
        if any("==" not in word for word in wanted):
            yield f"RUN: pip install of what is not pinned ({install.strip()})"


def is_exec_form(text):
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def command_of(keyword):
    """The words of the last such instruction in exec form."""
    return json.loads(re.search(r"\[.*\]", dict(instructions(DOCKERFILE.read_text()))[keyword])[0])


class TestDockerfile:
    def test_no_complaints(self):
        assert complaints(DOCKERFILE.read_text(), ROOT) == []

    @pytest.mark.parametrize(
        ("before", "after", "complaint"),
        [
            ("l4t-tensorrt:r8.2.1-runtime\n\n", "l4t-tensorrt:latest\n\n", "is not pinned"),
            ("l4t-tensorrt:r8.2.1-runtime\n\n", "l4t-tensorrt\n\n", "is not pinned"),
            ("USER edgesynth", "USER root", "runs as root"),
            ("USER edgesynth\n", "", "runs as root"),
            ("COPY jetson/build_pyz.py", "COPY jetson/built.py", "no 'jetson/built.py'"),
            ("--from=build", "--from=other", "no stage 'other'"),
            ("COPY jetson/build_pyz.py", "ADD https://example.org/x", "use COPY"),
            ("rm -rf /var/lib/apt/lists/*", "true", "lists of apt"),
            ("g++ python3-pip", "g++ && apt-get install python3-pip", "--no-install-recommends"),
            ('ENTRYPOINT ["edgesynth-agent"]', "ENTRYPOINT edgesynth-agent", "exec form"),
            ('CMD ["edgesynth-agent", "health"', 'CMD edgesynth-agent "health"', "exec form"),
            ("HEALTHCHECK", "LABEL", "HEALTHCHECK: missing"),
            ("ARG PYTHON=python3", "ARG API_TOKEN=abc", "a secret"),
            ("wheel==0.37.1", "wheel", "not pinned"),
            ("https://repo.download", "http://repo.download", "without TLS"),
        ],
    )
    def test_a_mistake_would_be_seen(self, before, after, complaint):
        text = DOCKERFILE.read_text()
        assert before in text
        assert complaint in "\n".join(complaints(text.replace(before, after, 1), ROOT))

    def test_the_agent_takes_its_commands(self):
        (program,) = command_of("ENTRYPOINT")
        for words in (command_of("CMD"), command_of("HEALTHCHECK")[1:]):
            with pytest.raises(SystemExit) as ended:
                main([*words, "--help"])
            assert ended.value.code == 0
        assert command_of("HEALTHCHECK")[0] == program
        socket = command_of("CMD")[command_of("CMD").index("--socket") + 1]
        assert socket in command_of("HEALTHCHECK")

    def test_what_is_copied_is_not_ignored(self):
        """The context is an allow list: a folder of gigabytes is never sent to the engine."""
        lines = (ROOT / ".dockerignore").read_text().split()
        allowed = [line[1:] for line in lines if line.startswith("!")]
        assert lines[0] == "*"
        for keyword, value in instructions(DOCKERFILE.read_text()):
            if keyword == "COPY" and "--from" not in value:
                assert value.split("/")[0] in allowed, value

    def test_packages_are_those_that_jetpack_4_takes(self):
        pins = dict(re.findall(r"(?m)^([\w-]+)==([^;\s]+)", REQUIREMENTS))
        lines = [line for line in REQUIREMENTS.splitlines() if not line.startswith("#")]
        assert len(pins) == len(lines), "every line is a pin"
        assert pins["numpy"] == "1.19.4"
        assert tuple(map(int, pins["pycuda"].split("."))) < (2021, 1)
        assert "six" in pins, "pycuda 2020.1 imports it without asking for it"


class TestCompose:
    def test_it_is_for_this_dockerfile(self):
        assert "dockerfile: Dockerfile.l4t" in COMPOSE
        mounts = re.findall(r"(?m)^      - (/[^:\s]+):([^:\s]+)(?::(\w+))?$", COMPOSE)
        targets = {target: mode for _, target, mode in mounts}
        assert targets["/run/edgesynth"] == targets["/var/lib/edgesynth"] == ""
        assert {mode for target, mode in targets.items() if "edgesynth" not in target} == {"ro"}
        assert targets["/sys"] == "ro"

    def test_it_gives_no_more_than_is_needed(self):
        assert "privileged: true" not in COMPOSE
        for line in (
            "network_mode: none",
            "read_only: true",
            "cap_drop: [ALL]",
            "no-new-privileges:true",
            "group_add:",
        ):
            assert line in COMPOSE
        assert "ports:" not in COMPOSE

    def test_its_user_is_that_of_the_image(self):
        (number,) = set(re.findall(r"--[ug]id (\d+)", DOCKERFILE.read_text()))
        assert f"-o {number} -g {number}" in COMPOSE
        assert f"-o {number} -g {number}" in (ROOT / "docs" / "service.md").read_text()
