"""Renders chat templates as Transformers does: python tests/parity/templates.py [FOLDER OUT]   (seen with Transformers 5.24)

Texts, and the ranges of `{% generation %}` blocks in characters, of several conversations into `templates.json`; the test
is `student/chat/src/golden.rs`. The date stands still at 26 July 2024, as it does there.

With a folder of `.jinja` files, those instead, into OUT: `DISTILL_TEMPLATES=OUT cargo test --release --workspace --lib
templates_render` then tells which of them differ.
"""

import datetime
import json
import pathlib
import sys

import snippets
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template

HERE = pathlib.Path(__file__).parent
SHIPPED = HERE.parent.parent / "recipes" / "templates"


class StandingClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


chat_template_utils.datetime = StandingClock
TOKENS = {
    "r1-distill": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "qwen": ("", "<|im_end|>"), "llama": ("<|begin_of_text|>", "<|eot_id|>"), "smollm2": ("<|im_start|>", "<|im_end|>"),
    "chatml": ("", "<|im_end|>"),
}


def message(role, content):
    return {"role": role, "content": content}


def system(text):
    return message("system", text)


def user(text):
    return message("user", text)


def assistant(text):
    return message("assistant", text)


THOUGHT = "<think>\nSeven times six.\n\nThat is 42.\n</think>\n\nThe answer is \\boxed{42}."
CONVERSATIONS = {
    "one": [user("What is 7*6?")],
    "answered": [user("What is 7*6?"), assistant(THOUGHT)],
    "several": [user("What is 7*6?"), assistant(THOUGHT), user("And 7*7?")],
    "several_answered": [user("What is 7*6?"), assistant(THOUGHT), user("And 7*7?"), assistant("<think>\n49\n</think>\n\n49")],
    "system": [system("You are terse."), user("What is 7*6?")],
    "system_answered": [system("You are terse."), user("What is 7*6?"), assistant(THOUGHT)],
    "system_several": [system("  Be kind.\n"), user(" Hi "), assistant("Hello!"), user("Bye"), assistant("Bye.\n")],
    "plain_answer": [user("2+2?"), assistant("4")],
    "unicode": [user("Wie groß ist ∑ 1/n²? \"π²/6\" 'ja' <b>&amp;</b> 🙂\r\n\t"), assistant("<think>\n\n</think>\n\n是 π²/6 🙂")],
    "empty": [user(""), assistant("")],
    "two_users": [user("a"), user("b")],
    "think_in_question": [user("What does </think> mean?"), assistant("It ends thought.")],
    "system_last": [user("a"), system("late")],
}

VALUE = """{'a': [1, -2.5, 1e20, 1e15, 0.00001, 0.5, none, true, []], 'é': 'x"<&>\\\\\\n\\t/ü🙂', 'b': {'d': {}, 'c': [[1], {'k': 2}]}}"""
EXPRESSIONS = [
    VALUE + " | tojson", VALUE + " | tojson(indent=2)", VALUE + " | tojson(indent=4, ensure_ascii=true)",
    VALUE + " | tojson(separators=[',', ':'])", VALUE + " | tojson(sort_keys=true)", "messages | tojson", "[] | tojson(indent=2)",
    "strftime_now('%d %b %Y')", "strftime_now('%A, %B %d, %Y %H:%M')", "raise_exception('no: ' + messages[0].role)", "undefined_thing.x",
    "'a,b'.split(',')", "' x '.strip() + 'Abc'.upper() + 'abc'.title()", "'abc'.startswith('a') and 'abc'.endswith('c')",
    "messages[0].items() | list | length", "messages[-1]['content'][:3]", "messages | selectattr('role', 'equalto', 'user') | list | length",
    "'a' in 'abc' and 'x' not in ['y']", "namespace(a=1).a", "[1, 2] | join('-')", "messages[1:] | length", "'%s' | format('x')", "tools is none and documents is none and unknown is not defined",
]

ROOT = HERE.parent.parent
if sys.argv[1:]:
    folder, golden = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
    templates = [(path, str(path), ("<s>", "</s>")) for path in folder.glob("*.jinja")]
    snippet_sources = []
else:
    golden = HERE / "templates.json"
    shipped = [*(HERE / "templates").glob("*.jinja"), *SHIPPED.glob("*.jinja")]
    tokens_of = lambda path: next(tokens for prefix, tokens in TOKENS.items() if path.name.startswith(prefix))
    templates = [(path, str(path.relative_to(ROOT)), tokens_of(path)) for path in shipped]
    snippet_sources = ["{{ " + expression + " }}\n" for expression in EXPRESSIONS + snippets.EXPRESSIONS] + snippets.SOURCES

cases = []
for path, template, (bos, eos) in sorted(templates):
    # As it is: reading text would change the ends of lines.
    source = path.read_bytes().decode()
    for name, conversation in CONVERSATIONS.items():
        for prompt in (False, True):
            case = {"template": template, "conversation": name, "bos": bos, "eos": eos, "prompt": prompt}
            masked = "generation" in source and not prompt
            try:
                texts, ranges = render_jinja_template(
                    [conversation], chat_template=source, add_generation_prompt=prompt, return_assistant_tokens_mask=masked,
                    bos_token=bos, eos_token=eos,
                )
                case["text"] = texts[0]
                case["generation"] = ranges[0] if masked else None
            except Exception as error:  # what the template raises
                case["error"] = str(error)
            cases.append(case)

for source in snippet_sources:
    case = {"source": source, "conversation": "unicode", "bos": "", "eos": "", "prompt": False, "generation": None}
    try:
        case["text"] = render_jinja_template([CONVERSATIONS["unicode"]], chat_template=source, bos_token="", eos_token="")[0][0]
    except Exception as error:
        case["error"] = str(error)
    cases.append(case)

out = {"conversations": CONVERSATIONS, "cases": cases}
golden.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")
print(len(cases), "renderings,", sum("error" in case for case in cases), "of them errors")
