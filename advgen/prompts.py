"""Loads `prompts/*.j2`: strict about undefined names, and each template has a hash that goes into the provenance."""

from __future__ import annotations

import functools
from typing import Any

from advcore.runs import sha256_of
from advcore.settings import shipped


@functools.cache
def _environment() -> Any:
    import jinja2

    loader = jinja2.FileSystemLoader(shipped("prompts"))
    # Templates make plain text for models, never HTML, so nothing is escaped.
    return jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=False
    )


def render(name: str, **values: Any) -> str:
    """The template `name` filled in. Raises jinja2.UndefinedError for a value that is not given."""
    return str(_environment().get_template(f"{name}.j2").render(**values)).strip()


def messages(name: str, **values: Any) -> list[dict[str, str]]:
    """The template as a conversation of one user message."""
    return [{"role": "user", "content": render(name, **values)}]


@functools.cache
def form_lines(name: str) -> frozenset[str]:
    """The lines inside the code block of a template, in lower case: what a reply holds that filled nothing in."""
    block = _environment().loader.get_source(_environment(), f"{name}.j2")[0].split("```")[1]
    lines = (line.strip(' "').lower() for line in block.splitlines()[1:])
    return frozenset(line for line in lines if line and not line.startswith("def "))


@functools.cache
def template_hash(name: str) -> str:
    """Hash of a template and of what it includes."""
    import jinja2.meta

    environment = _environment()
    source = environment.loader.get_source(environment, f"{name}.j2")[0]
    included = sorted(filter(None, jinja2.meta.find_referenced_templates(environment.parse(source))))
    return sha256_of([source, *(template_hash(each.removesuffix(".j2")) for each in included)])[:16]
