"""What Griffe, which reads the packages without running them, does not see by itself.

The packages attach their public names when they are first used (lazy_loader), and their docstrings
give an example under `Example:` without indentation.
"""

import ast
import re

import griffe

_DOCTEST = re.compile(r"^Example:\n((?:>>> .*\n?)(?:.+\n?)*)", re.MULTILINE)
_FENCE = re.compile(r"^Example:\n(?=```)", re.MULTILINE)
_LEAD = re.compile(r"^(Example|Sources?|Method): ", re.MULTILINE)
_LITERAL = re.compile(r"::$", re.MULTILINE)  # a drawing follows, indented: code in Markdown too


def attached(module: griffe.Module) -> dict[str, str]:
    """Return {name: submodule that defines it} of what a package attaches."""
    names = {}
    for node in ast.walk(ast.parse(module.filepath.read_text("utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "submod_attrs":
            for submodule, found in ast.literal_eval(node.value).items():
                names.update(dict.fromkeys(found, submodule))
    return names


def origin(module: griffe.Module, name: str) -> str:
    """Return the dotted path of what a package attaches, through packages that attach it too."""
    submodule = attached(module).get(name)
    return f"{module.path}.{name}" if submodule is None else origin(module[submodule], name)


def attach(module: griffe.Module) -> None:
    """Make what packages attach their members, but for names that a submodule has."""
    for name in attached(module) if module.is_init_module else ():
        if name not in module.members:
            module.set_member(name, griffe.Alias(name, origin(module, name)))
    for submodule in list(module.modules.values()):
        if not submodule.is_alias:
            attach(submodule)


def readable(docstring: str) -> str:
    """Return a docstring whose example is a block of code and whose source stands out."""
    docstring = _DOCTEST.sub(r"**Example**\n\n```pycon\n\1```\n", docstring.rstrip() + "\n")
    docstring = _FENCE.sub("**Example**\n\n", _LITERAL.sub(":", docstring))
    return _LEAD.sub(r"**\1:** ", docstring)


class PublicNames(griffe.Extension):
    """Makes the attached names members of their packages, and docstrings readable on a page."""

    def on_instance(self, *, obj, **kwargs):
        """Rewrite the docstring of anything that has one."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)

    def on_package(self, *, pkg, **kwargs):
        """Add what the package, and each package in it, attaches."""
        attach(pkg)
