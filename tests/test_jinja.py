"""What Hugging Face's templates rely on, and the life of the process that renders them."""

import copy
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from server.children import SURROUNDINGS
from server.prompt.jinja import Renderer, TemplateFailed, TemplateStopped
from server.prompt.jinja_worker import Frame, Kind, read_frame, write_frame
from tests.conftest import wait_until

MESSAGES = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Hello, Ünï"},
    {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look", "arguments": {"x": 1}}}]},
]
VARIABLES = {
    "messages": MESSAGES,
    "add_generation_prompt": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "tools": [{"name": "look"}],
    "documents": [{"title": "Map"}],
    "enable_thinking": True,
    "mood": "grim",
}


@pytest.fixture(scope="module")
def renderer():
    renderer = Renderer()
    yield renderer
    renderer.close()


@pytest.fixture
def own_renderer():
    renderer = Renderer()
    yield renderer
    renderer.close()


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% if true %}\n  a\n  {% endif %}\nb", "  a\nb"),
        ("{% for n in [1, 2, 3] %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}", "1"),
        ("{% for n in [1, 2, 3] %}{% if n == 2 %}{% continue %}{% endif %}{{ n }}{% endfor %}", "13"),
        ("{% generation %}a{{ mood }}{% endgeneration %}b", "agrimb"),
        ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "21"),
        ("{{ 'Ünï <b>&'|tojson }}", '"Ünï <b>&"'),
        ("{{ 'Ü'|tojson(ensure_ascii=true) }}", '"\\u00dc"'),
        ("{{ {'b': 1, 'a': [2]}|tojson }}", '{"b": 1, "a": [2]}'),
        ("{{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }}", '{"a": 2, "b": 1}'),
        ("{{ [1]|tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ {'a': [1, 2]}|tojson(separators=(',', ':')) }}", '{"a":[1,2]}'),
        ("{{ tools[0].name }} {{ documents[0].title }} {{ mood }} {{ enable_thinking }}", "look Map grim True"),
        ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
        ("{% if add_generation_prompt %}x{% else %}no{% endif %}", "no"),
        ("{% if nothing %}x{% else %}no{% endif %}{{ nothing }}", "no"),
        ("{{ tools is defined }} {{ nothing is defined }} {{ messages[2].content is none }}", "True False True"),
        ("{% set n = namespace(x=0) %}{% for i in [1, 2] %}{% set n.x = i %}{% endfor %}{{ n.x }}", "2"),
        ("{% macro m(a, b='c') %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "1c"),
        ("{% for m in messages[1:] %}{{ m['role'] }} {% endfor %}", "user assistant "),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "a=1"),
        ("{{ messages[0].content.strip() }}|{{ messages[0]['content'] | trim }}", "Be brief.|Be brief."),
        ("{{ 'a</t>b'.split('</t>')[-1] }}{{ 'abc'.startswith('a') }}{{ 'a'.replace('a', 'z') }}", "bTruez"),
        ("{{ '\\n a \\n'.rstrip('\\n') }}{{ 'b\\n'.lstrip('b') }}", "\n a \n"),
        ("{{ messages[0].get('name', 'nobody') }}", "nobody"),
        ("{% for m in messages %}{{ loop.first }}{{ loop.last }}{{ loop.index0 }} {% endfor %}",
         "TrueFalse0 FalseFalse1 FalseTrue2 "),
        ("{% for m in messages %}{{ loop.previtem.role if loop.previtem }}>{{ m.role }} {% endfor %}",
         ">system system>user user>assistant "),
        ("{{ messages[2].tool_calls[0].function.arguments|tojson }}", '{"x": 1}'),
        ("{{ messages[0].content is string }} {{ tools is iterable }} {{ tools is mapping }}", "True True False"),
        ("{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|first }}", "Hello, Ünï"),
    ],
)  # fmt: skip
def test_a_template_finds_what_it_expects(renderer, template, text):
    assert renderer.render(template, VARIABLES) == text


def test_the_time_is_formatted(renderer):
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", renderer.render("{{ strftime_now('%Y-%m-%d') }}", {}))


@pytest.mark.parametrize("words", ["System role not supported", "Ünï {{ x }}\nline 3", ""])
def test_a_refusal_keeps_the_templates_own_words(renderer, words):
    with pytest.raises(TemplateFailed) as caught:
        renderer.render("\n{{ raise_exception(words) }}", {"words": words})
    assert str(caught.value) == words
    assert not isinstance(caught.value, TemplateStopped)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a\nb\n{% if %}", r"^Expected an expression.*\(line 3\)$"),
        ("a\n{% endfor %}", r"\(line 2\)$"),
        ("a\n\n{{ nothing.at.all }}", r"^'nothing' is undefined \(line 3\)$"),
        ("\n{{ 1 + 'a' }}", r"^TypeError: .*\(line 2\)$"),
        ("{{ messages[9].role }}", r"\(line 1\)$"),
    ],
)
def test_an_error_says_what_and_where(renderer, template, words):
    with pytest.raises(TemplateFailed, match=words):
        renderer.render(template, VARIABLES)


def test_messages_are_text_and_never_template_code(renderer):
    code = "{{ 7 * 7 }}{% raw %}{# no #}"
    assert renderer.render("{{ messages[0].content }}", {"messages": [{"content": code}]}) == code


def test_half_characters_come_through(renderer):
    assert renderer.render("{{ x }}", {"x": "a\ud83d"}) == "a\ud83d"


def test_what_the_caller_passed_is_unchanged(renderer):
    before = copy.deepcopy(VARIABLES)
    with pytest.raises(TemplateFailed):
        renderer.render("{% set _ = messages.clear() %}", VARIABLES)
    assert before == VARIABLES


def test_each_thread_gets_its_own_answer(renderer):
    with ThreadPoolExecutor(8) as threads:
        texts = threads.map(lambda n: renderer.render("{{ n }}", {"n": n}), range(200))
    assert list(texts) == [str(n) for n in range(200)]


def test_close_ends_the_process(own_renderer):
    own_renderer.start()
    pid = own_renderer.pid
    own_renderer.close()
    assert not psutil.pid_exists(pid)
    assert own_renderer.pid is None


def test_one_process_serves_many_templates(own_renderer):
    own_renderer.render("a", {})
    pid = own_renderer.pid
    with pytest.raises(TemplateFailed):
        own_renderer.render("{{ raise_exception('no') }}", {})
    own_renderer.render("b", {})
    assert own_renderer.pid == pid


def test_a_process_killed_from_outside_is_replaced(own_renderer):
    own_renderer.render("a", {})
    process = psutil.Process(own_renderer.pid)
    process.kill()
    wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE or not process.is_running(), "the end of the process")
    assert own_renderer.render("b", {}) == "b"


def worker(seconds: float = 60) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "server.prompt.jinja_worker", str(seconds), str(256 << 20)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **SURROUNDINGS
    )
    assert read_frame(process.stdout) == Frame(Kind.READY)
    return process


def test_the_process_ends_with_its_launcher():
    with worker() as process:
        process.stdin.close()
        assert process.wait(60) == 0


def test_the_process_outlives_its_launcher_only_briefly_in_the_middle_of_a_template():
    with worker(0.1) as process:
        write_frame(process.stdin, Frame.request("{{ 3 ** (10 ** 10) > 1 }}", {}))
        process.stdin.close()
        assert process.wait(60) == 1


def test_frames_cut_short_or_too_long_are_no_frames(tmp_path):
    file = tmp_path / "frames"
    for data in (b"", b"\2", b"\2\0\0\0\5abc", b"\2\0\0\0\5abcde", b"\x63\0\0\0\1a"):
        file.write_bytes(data)
        with file.open("rb") as pipe:
            assert read_frame(pipe, longest=4) is None
