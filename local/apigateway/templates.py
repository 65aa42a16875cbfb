"""API Gateway's mapping templates: Velocity by airspeed, made strict, with AWS's $input and $util.

Airspeed is lenient where Velocity is not and silent where AWS would fail, so a compiled template is
hardened: names, methods and directives that API Gateway is not documented to know are refused when
the template is compiled; what Java and Python print or compare differently is refused when it
happens. And since nobody documents which Velocity API Gateway runs, a template is rendered by each
of DIALECTS and has to come out the same. Reference: API Gateway developer guide,
"api-gateway-mapping-template-reference".
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import airspeed
from airspeed import operators as vm

from local.apigateway.template_values import Input, Util, VtlError, as_text, member

ROOTS = {"input", "util", "context", "stageVariables"}
LOOP_NAMES = {"foreach", "velocityCount", "velocityHasNext"}
CONTEXT_NAMES = {
    "accountId",
    "apiId",
    "authorizer",
    "awsEndpointRequestId",
    "deploymentId",
    "domainName",
    "domainPrefix",
    "error",
    "extendedRequestId",
    "httpMethod",
    "identity",
    "isCanaryRequest",
    "path",
    "protocol",
    "requestId",
    "requestOverride",
    "requestTime",
    "requestTimeEpoch",
    "resourceId",
    "resourcePath",
    "responseOverride",
    "stage",
    "wafResponseCode",
    "webaclArn",
}
OVERRIDES = {"requestOverride": {"header", "path", "querystring"}, "responseOverride": {"header"}}
REFUSED = {
    vm.IncludeDirective: "#include",
    vm.ParseDirective: "#parse",
    vm.EvaluateDirective: "#evaluate",
    vm.ReturnDirective: "#return",
    vm.MacroDefinition: "#macro",
    vm.DefineDefinition: "#define",
    vm.StopDirective: "#stop",
}


@dataclass(frozen=True)
class Dialect:
    """How a Velocity takes what is neither true nor false."""

    null_is_empty_text: bool
    empty_is_true: bool


# Velocity 2; Velocity 1.7; API Gateway itself, as LocalStack observed it (test_templating.py of
# localstack/airspeed: a null reference is true in #if, and its negation false).
DIALECTS = (Dialect(False, False), Dialect(False, True), Dialect(True, True))
_dialect = ContextVar("dialect", default=DIALECTS[0])


class SetOnce(dict[str, object]):
    """Override values of one kind: API Gateway answers 5XX when the same one is set twice."""

    def __setitem__(self, key: str, value: object) -> None:
        if key in self:
            raise VtlError(
                f"override {key!r} is set twice; an override is final: set it once, at the template's end"
            )
        if value is None:
            raise VtlError(f"override {key!r} is set to null; give it a value or leave it unset")
        super().__setitem__(key, value)


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
        self._where = where
        try:
            self._template = airspeed.Template(text)
            self._template.ensure_compiled()
            _harden(self._template.root_element)
        except (airspeed.TemplateError, vm.NoMatch, VtlError) as error:
            raise VtlError(f"{where}: {error}") from error

    def render(
        self,
        input_: Input,
        context: Mapping[str, object],
        stage_variables: Mapping[str, str] | None = None,
    ) -> Rendered:
        """Raises JsonBodyError for a body that is no JSON, VtlError for what API Gateway may render
        otherwise.
        """
        results = [
            self._render(dialect, input_, context, stage_variables or {}) for dialect in DIALECTS
        ]
        if any(result != results[0] for result in results):
            raise VtlError(
                f"{self._where}: what it renders depends on whether null and empty values count as true, which"
                " differs from one Velocity to the next; compare them, as in #if($x == '')"
            )
        return results[0]

    def _render(
        self,
        dialect: Dialect,
        input_: Input,
        context: Mapping[str, object],
        stage_variables: Mapping[str, str],
    ) -> Rendered:
        request = {kind: SetOnce() for kind in OVERRIDES["requestOverride"]}
        response = SetOnce(header=SetOnce())
        variables = {
            "input": input_,
            "util": Util(),
            "context": {**context, "requestOverride": request, "responseOverride": response},
            "stageVariables": stage_variables,
        }
        token = _dialect.set(dialect)
        try:
            return Rendered(
                text=self._template.merge(variables), request=request, response=response
            )
        except (airspeed.TemplateError, vm.NoMatch) as error:
            cause = error.__cause__
            # Its type stays: a body that is no JSON is the caller's fault, anything else the
            # template's.
            kind = type(cause) if isinstance(cause, VtlError) else VtlError
            raise kind(f"{self._where}: {cause if kind is type(cause) else error}") from error
        finally:
            _dialect.reset(token)


def _harden(root: Any) -> None:
    """Refuse what is unknown and swap in the strict elements, in place."""
    elements = list(_elements(root, set()))
    known = ROOTS | LOOP_NAMES | _assigned(elements)
    for element in elements:
        _refuse(element)
        if isinstance(element, vm.Assignment):
            _check_assignment(element)
        if isinstance(element, vm.FormalReference) and element.expression is not None:
            _check_reference(element.expression, known)
            del element.calculate  # the lenient one, of its expression
        if strict := STRICT.get(type(element)):
            element.__class__ = strict
    for element in elements:
        if isinstance(element, vm.BinaryOperator):
            element.apply_to = functools.partial(
                _apply, element.my_text().strip(), element.apply_to
            )
        if isinstance(element, vm.ElseifBlock):  # it kept the lenient method of its condition
            element.calculate = element.condition.calculate


def _elements(node: Any, seen: set[int]) -> Iterator[Any]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, vm._Element):
        yield node
        children = list(vars(node).values())
    elif isinstance(node, dict):
        children = [*node.keys(), *node.values()]
    elif isinstance(node, (list, tuple)):
        children = list(node)
    else:  # some elements keep only a bound method of their child
        children = (
            [owner] if isinstance(owner := getattr(node, "__self__", None), vm._Element) else []
        )
    for child in children:
        yield from _elements(child, seen)


def _assigned(elements: list[Any]) -> set[str]:
    names = {e.root_term for e in elements if isinstance(e, vm.Assignment) and not e.terms}
    return names | {e.loop_var_name for e in elements if isinstance(e, vm.ForeachDirective)}


def _refuse(element: Any) -> None:
    if directive := REFUSED.get(type(element)):
        raise VtlError(f"{directive} is not known to work in API Gateway; use #set, #if, #foreach")
    if isinstance(element, vm.MacroCall):
        raise VtlError(f"unknown directive #{element.macro_name}")
    if isinstance(element, vm.NameOrCall) and element.name.endswith("-"):
        raise VtlError(
            f"the name {element.name!r} swallows the hyphen; write ${{...}} around the reference"
        )


def _check_reference(expression: Any, known: set[str]) -> None:
    name = expression.part.name
    if name not in known:
        raise VtlError(
            f"${name} is never set and is none of {', '.join(f'${root}' for root in sorted(ROOTS))}"
        )
    below = expression.subexpression
    if (
        name == "context"
        and below is not None
        and isinstance(below.expression, vm.VariableExpression)
    ):
        child = below.expression.part.name
        if child not in CONTEXT_NAMES:
            raise VtlError(f"$context.{child} is not a variable of API Gateway's mapping templates")


def _check_assignment(assignment: Any) -> None:
    if assignment.root_term not in ROOTS:
        return
    path = [getattr(term.term, "value", None) for term in assignment.terms]
    kinds = OVERRIDES.get(str(path[0]) if path else "", set())
    if assignment.root_term != "context" or not (
        path == ["responseOverride", "status"] or (len(path) == 3 and path[1] in kinds)
    ):
        raise VtlError(
            f"cannot set ${'.'.join([assignment.root_term, *map(str, path)])}; only overrides can be set"
        )


class _Name(vm.NameOrCall):
    """`name`, `name(...)` or `name[...]`, on the variables or on a value, by Java's rules and not
    by Python's.
    """

    def calculate(self, current_object: Any, loader: Any, top_namespace: Any) -> Any:
        arguments = (
            None if self.parameters is None else self.parameters.calculate(top_namespace, loader)
        )
        if isinstance(current_object, vm.LocalNamespace):
            value = _variable(current_object, self.name)
            if arguments is not None:
                raise VtlError(f"${self.name} is not a function")
        else:
            value = member(current_object, self.name, arguments)
        return (
            value
            if self.index is None
            else _item(value, self.index.calculate(top_namespace, loader))
        )


class _Sub(vm.SubExpression):
    """What follows a name; an index is looked up among the variables, not within the value it
    indexes.
    """

    def calculate(self, current_object: Any, loader: Any, global_namespace: Any) -> Any:
        if not isinstance(self.expression, vm.ArrayIndex):
            return self.expression.calculate(current_object, loader, global_namespace)
        value = _item(current_object, self.expression.calculate(global_namespace, loader))
        return (
            self.subexpression.calculate(value, loader, global_namespace)
            if self.subexpression
            else value
        )


class _Reference(vm.FormalReference):
    """A reference; printed, null is nothing, and a map or list is refused (Java and Python print
    them differently).
    """

    def calculate(self, namespace: Any, loader: Any) -> Any:
        value = self.expression.calculate(namespace, loader) if self.expression else None
        return "" if value is None and _dialect.get().null_is_empty_text else value

    def evaluate_raw(self, stream: Any, namespace: Any, loader: Any) -> None:
        if self.expression is None:
            stream.write(self.my_text())
            return
        value = self.calculate(namespace, loader)
        if value in (None, "") and self.alternate is not None:
            value = self.alternate.calculate(namespace, loader)
        stream.write("" if value is None else as_text(value))


class _Condition(vm.Condition):
    """`#if(...)`."""

    def calculate(self, namespace: Any, loader: Any) -> bool:
        return _truth(self.expression.calculate(namespace, loader))


class _Not(vm.UnaryOperatorValue):
    """`!value`."""

    def calculate(self, namespace: Any, loader: Any) -> bool:
        return not _truth(self.value.calculate(namespace, loader))


STRICT: dict[type, type] = {
    vm.NameOrCall: _Name,
    vm.SubExpression: _Sub,
    vm.FormalReference: _Reference,
    vm.Condition: _Condition,
    vm.UnaryOperatorValue: _Not,
}


def _variable(namespace: Any, name: str) -> object:
    try:
        return namespace[name]
    except KeyError:  # set in a branch that was not taken
        return None


def _item(value: Any, index: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        if not isinstance(index, int) or not 0 <= index < len(value):
            raise VtlError(f"index {index!r} of a list of {len(value)}")
        return value[index]
    if isinstance(value, dict):
        return value.get(index)
    raise VtlError(f"cannot index {type(value).__name__} by {index!r}")


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    return value is not None and (bool(value) or _dialect.get().empty_is_true)


def _apply(symbol: str, plain: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    if symbol in ("&&", "and"):
        return _truth(left) and _truth(right)
    if symbol in ("||", "or"):
        return _truth(left) or _truth(right)
    if left is not None and right is not None and isinstance(left, str) != isinstance(right, str):
        raise VtlError(f"{left!r} {symbol} {right!r} mixes text with something else")
    return plain(left, right)
