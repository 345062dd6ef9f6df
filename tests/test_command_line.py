"""KoboldCpp's flags: ours are read, its others are named and ignored, and bad values give one sentence and status 2."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path

import pytest

import launcher
from server import VERSION
from server.command_line import Invocation, parse
from server.errors import SettingsError
from server.settings import Settings

# Every flag of KoboldCpp 1.102 as people write it; "/" separates other names for the same thing.
KOBOLDCPP = """\
--model/-m a.gguf
--port 5002
--host 127.0.0.1
--threads/-t 4
--contextsize/--ctx-size/-c 4096
--gpulayers/--gpu-layers/--n-gpu-layers/-ngl 20
--gpulayers/--gpu-layers/--n-gpu-layers/-ngl
--batchsize/--blasbatchsize/--batch-size/-b 512
--batchsize/--blasbatchsize/--batch-size/-b -1
--multiuser 4
--password secret
--chatcompletionsadapter ChatML
--defaultgenamt 512
--quiet
--skiplauncher
--launch
--usecuda/--usecublas/--usehipblas
--usecuda/--usecublas/--usehipblas normal 0 mmq
--usevulkan
--usevulkan 0 1
--useclblast 0 1
--usecpu
--tensor_split/--tensorsplit/--tensor-split/-ts 3 1
--analyze a.gguf
--maingpu/--main-gpu/-mg 0
--blasthreads/--batchthreads/--threadsbatch/--threads-batch 4
--lora a.gguf
--loramult 0.5
--noshift/--no-context-shift
--nofastforward
--useswa
--ropeconfig 1.0 10000.0
--overridenativecontext 4096
--usemmap
--usemlock/--mlock
--noavx2
--failsafe
--debugmode
--debugmode -1
--onready true
--benchmark
--benchmark out.csv
--prompt/-p Hello
--cli
--genlimit/--promptlimit 100
--multiplayer
--websearch
--remotetunnel
--highpriority
--foreground
--preloadstory a.json
--savedatafile a.jsondb
--ssl cert.pem key.pem
--nocertify
--mmproj a.gguf
--mmprojcpu/--no-mmproj-offload
--visionmaxres 1024
--draftmodel/--model-draft/-md a.gguf
--draftamount/--draft-max/--draft-n 8
--draftgpulayers/-ngld/--gpu-layers-draft/--n-gpu-layers-draft 99
--draftgpusplit 1 1
--ratelimit 5
--ignoremissing
--jinja
--jinja_tools/--jinja-tools
--flashattention/--flash-attn/-fa
--lowvram/-nkvo/--no-kv-offload
--quantkv 1
--forceversion 0
--smartcontext
--unpack folder
--exportconfig a.kcpps
--exporttemplate a.kcppt
--nomodel
--moeexperts 2
--moecpu/--n-cpu-moe/-ncmoe
--moecpu/--n-cpu-moe/-ncmoe 10
--nobostoken
--enableguidance
--maxrequestsize 32
--overridekv/--override-kv a=int:1
--overridetensors/--override-tensor/-ot a=CPU
--showgui
--singleinstance
--hordemodelname a
--hordeworkername a
--hordekey a
--hordemaxctx 0
--hordegenlen 0
--sdmodel a
--sdthreads 0
--sdclamped
--sdclamped 512
--sdclampedsoft 0
--sdt5xxl a
--sdclip1/--sdclipl a
--sdclip2/--sdclipg a
--sdphotomaker a
--sdflashattention
--sdoffloadcpu
--sdvaecpu
--sdclipgpu
--sdconvdirect full
--sdvae a
--sdvaeauto
--sdquant
--sdquant 2
--sdlora a
--sdloramult 1.0
--sdtiledvae 768
--sdgendefaults {}
--whispermodel a
--ttsmodel a
--ttswavtokenizer a
--ttsgpu
--ttsmaxlen 4096
--ttsthreads 0
--embeddingsmodel a
--embeddingsmaxctx 0
--embeddingsgpu
--admin
--adminpassword a
--admindir folder
--hordeconfig a 1 2
--sdconfig a 1 2
--noblas
--nommap/--no-mmap
--sdnotile
--testmemory
""".splitlines()
USED = {f"--{field.name}" for field in dataclasses.fields(Settings)} | {"--skiplauncher", "--launch", "--nommap"}


def spellings() -> list[list[str]]:
    lines = [line.split() for line in KOBOLDCPP]
    return [[name, *values] for names, *values in lines for name in names.split("/")]


def is_ours(flag: str) -> bool:
    families = [line.split()[0].split("/") for line in KOBOLDCPP]
    return any(flag in family and USED & set(family) for family in families)


def settings_of(*arguments: str) -> Settings:
    return parse(arguments).settings


def status_of(arguments: list[str]) -> int:
    """The exit status of the program, whichever way it ends. The missing model makes sure that it does end."""
    try:
        return launcher.main([*arguments, "--skiplauncher", "--model", "/no/such.gguf"])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("arguments", spellings(), ids=" ".join)
def test_every_flag_of_koboldcpp_is_read_or_named(arguments):
    warnings = parse(arguments).warnings
    if is_ours(arguments[0]):
        assert warnings == ()
    else:
        assert len(warnings) == 1
        assert warnings[0].startswith(arguments[0] + " ")


def test_nothing_at_all_means_the_defaults_and_a_window():
    assert parse([]) == Invocation(Settings(), headless=False, warnings=())


def test_a_script_with_many_flags_keeps_working():
    line = "a.gguf 5005 --usecublas normal 0 mmq --contextsize 16384 --flashattention --smartcontext --skiplauncher"
    invocation = parse(line.split())
    assert invocation.settings == Settings(model="a.gguf", port=5005, contextsize=16384, flashattention="on")
    assert invocation.headless
    assert [warning.split()[0] for warning in invocation.warnings] == ["--usecublas", "--smartcontext"]


def test_model_and_port_can_be_given_by_position():
    assert settings_of("a.gguf", "6000") == Settings(model="a.gguf", port=6000)


def test_flags_win_over_positions():
    assert settings_of("a.gguf", "6000", "--model", "b.gguf", "--port", "6001") == Settings(model="b.gguf", port=6001)


def test_minus_one_gpu_layers_is_a_value_and_no_flag():
    assert settings_of("--gpulayers", "-1").gpulayers == -1


def test_a_flag_given_twice_counts_as_it_stands_last():
    assert settings_of("--port", "6000", "--port", "6001").port == 6001


# --- what the flags of llama.cpp's options mean ---


OPTIONS = """\
--tensor_split/--tensorsplit/--tensor-split/-ts 3 1 -> tensor_split=(3.0, 1.0)
--tensor_split/--tensorsplit/--tensor-split/-ts 3,1 -> tensor_split=(3.0, 1.0)
--tensor_split/--tensorsplit/--tensor-split/-ts 0.5 -> tensor_split=(0.5,)
--maingpu/--main-gpu/-mg 1 -> maingpu=1
--maingpu/--main-gpu/-mg -1 -> maingpu=-1
--moecpu/--n-cpu-moe/-ncmoe 10 -> moecpu=10
--moecpu/--n-cpu-moe/-ncmoe -> moecpu=999
--usemmap -> usemmap=True
--nommap/--no-mmap -> usemmap=False
--usemlock/--mlock -> usemlock=True
--blasthreads/--batchthreads/--threadsbatch/--threads-batch 4 -> blasthreads=4
--blasthreads/--batchthreads/--threadsbatch/--threads-batch -1 -> blasthreads=0
--gamemode -> gamemode=True
--lowpriority -> lowpriority=True
--ubatchsize/--ubatch-size/-ub 128 -> ubatchsize=128
--flashattention/--flash-attn/-fa -> flashattention="on"
--flashattention/--flash-attn/-fa auto -> flashattention="auto"
--flashattention/--flash-attn/-fa on -> flashattention="on"
--flashattention/--flash-attn/-fa off -> flashattention="off"
--quantkv 2 -> quantkv=2
--lowvram/--no-kv-offload/-nkvo -> lowvram=True
--useswa -> useswa=True
--noshift/--no-context-shift -> noshift=True
--nofastforward -> nofastforward=True
--cacheram/--cache-ram/-cram 0 -> cacheram=0
--ropeconfig 0.5 -> ropeconfig=(0.5,)
--ropeconfig 0.5 20000 -> ropeconfig=(0.5, 20000.0)
--overridenativecontext 4096 -> overridenativecontext=4096
--lora a.gguf -> lora=("a.gguf",)
--lora a.gguf b,c.gguf -> lora=("a.gguf", "b,c.gguf")
--loramult 0.5 -> loramult=0.5
--loramult -1 -> loramult=-1.0
--draftmodel/--model-draft/-md a.gguf -> draftmodel="a.gguf"
--draftamount/--draft-max/--draft-n 4 -> draftamount=4
--draftgpulayers/--gpu-layers-draft/--n-gpu-layers-draft/-ngld 999 -> draftgpulayers=999
--promptlookup -> promptlookup=True
--embeddingsmodel a.gguf -> embeddingsmodel="a.gguf"
--embeddingsmaxctx 512 -> embeddingsmaxctx=512
--embeddingsgpu -> embeddingsgpu=True
--thinking hide -> thinking="hide"
--thinkingbudget/--reasoning-budget 512 -> thinkingbudget=512
--thinkingbudget/--reasoning-budget -1 -> thinkingbudget=-1
--thinkingbudget/--reasoning-budget 0 -> thinkingbudget=0
--strictcontext -> strictcontext=True
--admin -> admin=True
--adminpassword secret -> adminpassword="secret"
--admindir models -> admindir="models"
--statedir states -> statedir="states"
--chatcompletionsadapter ChatML -> chatcompletionsadapter="ChatML"
--chatcompletionsadapter {"user_start":"Q:"} -> chatcompletionsadapter='{"user_start":"Q:"}'
""".splitlines()


def options() -> list[tuple[list[str], str]]:
    lines = [line.split(" -> ") for line in OPTIONS]
    return [([name, *line.split()[1:]], wanted) for line, wanted in lines for name in line.split()[0].split("/")]


@pytest.mark.parametrize(
    ("arguments", "wanted"), options(), ids=lambda value: " ".join(value) if value[0][0] == "-" else ""
)
def test_an_option_means_the_same_under_all_its_names(arguments, wanted):
    name, _, value = wanted.partition("=")
    assert settings_of(*arguments) == Settings(**{name: ast.literal_eval(value)})


@pytest.mark.parametrize("flag", ["--gpulayers", "--flashattention", "-fa", "--moecpu"])
@pytest.mark.parametrize("behind", [["a.gguf"], ["A.GGUF", "6000"], ["--port", "6000", "a.gguf"]], ids=" ".join)
def test_a_flag_that_stands_alone_does_not_take_the_model_behind_it(flag, behind):
    alone, without = settings_of(flag), settings_of(*behind)
    assert settings_of(flag, *behind) == dataclasses.replace(alone, model=without.model, port=without.port)


def test_a_value_can_be_joined_to_its_flag():
    assert settings_of("--flashattention=off", "--moecpu=3") == Settings(flashattention="off", moecpu=3)


def test_mapping_counts_as_it_stands_last():
    assert settings_of("--nommap", "--usemmap").usemmap
    assert not settings_of("--usemmap", "--nommap").usemmap


# --- configuration files ---


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "mine.kcpps"
    file.write_text(json.dumps({"model_param": "a.gguf", "port_param": 6000, "gpulayers": 0, "threads": 3}))
    return str(file)


def test_a_config_file_gives_the_values(config):
    assert settings_of("--config", config) == Settings(model="a.gguf", port=6000, gpulayers=0, threads=3)


def test_flags_win_over_the_config_file(config):
    assert settings_of("--config", config, "--port", "6001", "--gpulayers", "5") == Settings(
        model="a.gguf", port=6001, gpulayers=5, threads=3
    )


def test_positions_win_over_the_config_file(config):
    assert settings_of("b.gguf", "6002", "--config", config) == Settings(
        model="b.gguf", port=6002, gpulayers=0, threads=3
    )


def test_a_config_file_can_be_given_by_position(config):
    assert settings_of(config) == Settings(model="a.gguf", port=6000, gpulayers=0, threads=3)


def test_a_value_in_a_config_file_is_checked(tmp_path):
    file = tmp_path / "bad.kcpps"
    file.write_text('{"contextsize": 1}')
    with pytest.raises(SettingsError, match="contextsize"):
        parse(["--config", str(file)])


# --- how the program ends ---


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--port", "99999"], "port"),
        (["--port", "http"], "port"),
        (["a.gguf", "http"], "port"),
        (["--contextsize", "8"], "contextsize"),
        (["--ctx-size", "8k"], "contextsize"),
        (["--gpulayers", "-2"], "gpulayers"),
        (["--threads", "1.5"], "threads"),
        (["--defaultgenamt", "0"], "defaultgenamt"),
        (["--multiuser", "-1"], "multiuser"),
        (["--blasbatchsize", "1"], "blasbatchsize"),
        (["--ubatch-size", "half"], "ubatchsize"),
        (["--flashattention", "maybe"], "flashattention"),
        (["--quantkv", "3"], "quantkv"),
        (["--tensor_split", "3", "one"], "tensor_split"),
        (["--tensor-split", "3,-1"], "tensor_split"),
        (["--tensor_split"], "--tensor_split"),
        (["--maingpu", "-2"], "maingpu"),
        (["--moecpu", "-1"], "moecpu"),
        (["--ropeconfig", "1", "10000", "3"], "ropeconfig"),
        (["--overridenativecontext", "-1"], "overridenativecontext"),
        (["--loramult", "nan"], "loramult"),
        (["--lora"], "--lora"),
        (["--draftamount", "0"], "draftamount"),
        (["--cache-ram", "-1"], "cacheram"),
        (["--thinking", "loud"], "thinking"),
        (["--reasoning-budget", "-2"], "thinkingbudget"),
        (["--thinkingbudget", "many"], "thinkingbudget"),
        (["--allowclients", "my-pc"], "allowclients"),
        (["--config", "/no/such.kcpps"], "/no/such.kcpps"),
        (["--port"], "--port"),
        (["--colour", "red"], "--colour"),
        (["--por", "5001"], "--por"),
        (["a.gguf", "5001", "surplus"], "surplus"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_bad_value_gives_one_sentence_that_names_it_and_status_2(arguments, named, capsys):
    assert status_of(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert named in said.err
    assert said.err.startswith("tavernkeep: ")
    assert said.err.count("\n") == 1


def test_version_prints_only_the_version(capsys):
    assert status_of(["--version"]) == 0
    assert capsys.readouterr().out.strip() == VERSION


def test_help_explains_every_setting_and_none_of_the_ignored_flags(capsys):
    assert status_of(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"--{field.name}" in shown for field in dataclasses.fields(Settings))
    assert "--usecuda" not in shown


def test_the_version_is_the_packages_own():
    pyproject = (Path(__file__).resolve().parent.parent / "pyproject.toml").read_text("utf-8")
    assert f'version = "{VERSION}"' in pyproject
