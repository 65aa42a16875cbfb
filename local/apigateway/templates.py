"""API Gateway's mapping templates, as far as openapi.yaml uses them: parsed and rendered by
airspeed.

Airspeed is lenient where Velocity is not and silent where AWS would fail. So a template is checked
when it is compiled: there are #set, #if, overrides and what SUPPORTED names, and anything else is
refused. What is left means the same in every Velocity. Reference: API Gateway developer guide,
"api-gateway-mapping-template-reference".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import airspeed
from airspeed import operators as vm

from local.apigateway.template_values import NULL, Input, SetOnce, Values, VtlError

SUPPORTED = (
    "there are $input.json('$.a'), $input.params('x'), $input.params().header.get('x') (or path,"
    " querystring), API Gateway's own $context, variables that were #set, and .matches('...') on"
    " each of these"
)

# A call's argument: one quoted text without references.
_QUOTED = r"""\(\s* (?: '[^']*' | "[^"$#]*" ) \s*\)"""
_JSON_PATH = r"""\(\s* (?: '\$(?:\.\w+)*' | "\$(?:\.\w+)*" ) \s*\)"""
_PARAMETERS = r"input\.params\(\)\.(?:path|querystring|header)"
_CONTEXT = r"""context\.(?: (?:authorizer|error|identity)\.\w+
    | accountId | apiId | deploymentId | domainName | domainPrefix | extendedRequestId
    | httpMethod | path | protocol | requestId | requestTime | requestTimeEpoch | resourceId
    | resourcePath | stage )"""
_REFERENCE = re.compile(
    rf"""\$ !? (?P<brace>\{{)?
    (?: (?P<text> input\.json{_JSON_PATH} | input\.params{_QUOTED} | {_PARAMETERS}\.get{_QUOTED}
                | {_CONTEXT} )
      | (?P<parameters> {_PARAMETERS} )
      | (?P<variable> [A-Za-z_]\w* ) (?P<get> \.get{_QUOTED} )? )
    (?P<matches> \.matches\(\s* (?: '(?P<pattern>[^']*)' | "(?P<quoted>[^"$#]*)" ) \s*\) )?
    (?(brace)\}})""",
    re.VERBOSE,
)
_OVERRIDE = re.compile(
    r"""context\.(?: responseOverride\.status
    | (?: requestOverride\.(?:header|path|querystring) | responseOverride\.header )
      (?: \.[\w-]+ | \['[\w-]+'\] ) )""",
    re.VERBOSE,
)


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A template's text, and its overrides: `request` has header, path, querystring; `response`
    header and status.
    """

    text: str
    request: dict[str, Any]
    response: dict[str, Any]


class Template:
    """A compiled mapping template; `where` names it in errors, for example `GET /infer/{id} request
    template`.
    """

    def __init__(self, text: str, where: str) -> None:
        self._where, self._template = where, airspeed.Template(text)
        checker = _Checker()
        try:
            self._template.ensure_compiled()
            checker.check(self._template.root_element)
        except (airspeed.TemplateError, vm.NoMatch, VtlError) as error:
            raise VtlError(f"{where}: {error}") from error
        # What is set in a branch that is not taken is null afterwards.
        self._unset = dict.fromkeys(checker.kinds, NULL)

    def render(self, input_: Input, context: Mapping[str, object]) -> Rendered:
        """Raises JsonBodyError for a body that is no JSON, VtlError for what API Gateway may render
        otherwise.
        """
        request = {kind: SetOnce() for kind in ("header", "path", "querystring")}
        response = SetOnce(header=SetOnce())
        visible = Values(context)
        visible |= {"requestOverride": request, "responseOverride": response}
        try:
            text = self._template.merge({**self._unset, "input": input_, "context": visible})
        except airspeed.TemplateError as error:
            # The cause's type stays: a body that is no JSON is the caller's fault.
            cause = error.__cause__
            if isinstance(cause, VtlError):
                raise type(cause)(f"{self._where}: {cause}") from error
            raise VtlError(f"{self._where}: {error}") from error
        return Rendered(text=text, request=request, response=response)


class _Checker:
    """Walks what airspeed parsed, in the order in which it renders, and refuses what is not known:
    the only place that touches airspeed's tree.

    Each variable has a kind (text, number, boolean, parameters) that is known before any request.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    def check(self, body: Any) -> None:
        """Raises VtlError, naming the directive or reference."""
        self._check_block(body.block)

    def _check_block(self, block: Any) -> None:
        for node in block.children:
            match node:
                case vm.Text() | vm.Comment() | vm.FallthroughHashText():
                    pass
                case vm.FormalReference(expression=None):  # plain text that begins with a dollar
                    pass
                case vm.FormalReference():
                    self._check_printable(node, self._kind_of_reference(node.my_text()))
                case vm.SetDirective():
                    self._check_set(node.assignment)
                case vm.IfDirective():
                    self._check_if(node)
                case _:
                    directive = node.my_text().partition("(")[0]
                    raise VtlError(f"{directive} is not supported; there are #set and #if")

    def _check_printable(self, node: Any, kind: str) -> None:
        if kind == "parameters":
            raise VtlError(
                f"{node.my_text()}: a map where text is needed; get('x') one of its values"
            )

    def _check_set(self, assignment: Any) -> None:
        kind, name = self._kind_of_value(assignment.value), assignment.root_term
        if assignment.terms or name in ("input", "context"):
            target = assignment.my_text().partition("=")[0].strip(" (\t$")
            if not _OVERRIDE.fullmatch(target):
                raise VtlError(f"cannot set ${target}; only overrides can be set, and variables")
            self._check_printable(assignment, kind)
        elif self.kinds.setdefault(name, kind) != kind:
            raise VtlError(f"${name} is set to a {self.kinds[name]} and to a {kind}")

    def _check_if(self, directive: Any) -> None:
        for branch in (directive, *directive.elseifs):
            condition = branch.condition.my_text().strip()
            asked = condition[1:-1].strip()
            if not _REFERENCE.fullmatch(asked) or self._kind_of_reference(asked) != "boolean":
                raise VtlError(
                    f"#if{condition} is not supported: what it says depends on whether null and"
                    " empty values count as true, which differs from one Velocity to the next; ask"
                    " #if($x.matches('...'))"
                )
            self._check_block(branch.block)
        if isinstance(directive.else_block, vm.ElseBlock):
            self._check_block(directive.else_block.block)

    def _kind_of_value(self, expression: Any) -> str:
        value = expression.expression[0].expression
        match value if len(expression.expression) == 1 else None:
            case vm.IntegerLiteral():
                return "number"
            case vm.InterpolatedStringLiteral():
                self._check_block(value.block)
                return "text"
            case vm.StringLiteral():
                return "text"
            case vm.FormalReference():
                return self._kind_of_reference(value.my_text())
        raise VtlError(
            f"#set to {expression.my_text().strip()} is not supported; it takes a text, a whole"
            " number or a reference"
        )

    def _kind_of_reference(self, text: str) -> str:
        found = _REFERENCE.fullmatch(text)
        if found is None:
            hint = "; the name swallows the hyphen: write ${...}" if text.endswith("-") else ""
            raise VtlError(f"{text} is not supported{hint}; {SUPPORTED}")
        kind = "parameters" if found["parameters"] else "text"
        if name := found["variable"]:
            kind = self._kind_of_variable(name, got=bool(found["get"]))
        if not found["matches"]:
            return kind
        if kind != "text":
            raise VtlError(f"{text}: .matches('...') is not supported on {kind}")
        _check_pattern(found["pattern"] or found["quoted"] or "")
        return "boolean"

    def _kind_of_variable(self, name: str, *, got: bool) -> str:
        if (kind := self.kinds.get(name)) is None:
            raise VtlError(f"${name} is never set; {SUPPORTED}")
        if got and kind != "parameters":
            raise VtlError(f"${name}.get('...') is not supported on a {kind}; {SUPPORTED}")
        return "text" if got else kind


def _check_pattern(pattern: str) -> None:
    """Refuses what Java's regular expressions and Python's do not both have, with one meaning."""
    if "&&" in pattern or "[[" in pattern:
        raise VtlError(f"regular expression {pattern!r} uses Java's class operators")
    if escape := re.search(r"\\[A-Za-z0-9]", pattern):
        raise VtlError(f"regular expression {pattern!r}: {escape[0]} is not supported; as in [0-9]")
    try:
        re.compile(pattern)
    except re.error as error:
        raise VtlError(f"regular expression {pattern!r}: {error}") from error
