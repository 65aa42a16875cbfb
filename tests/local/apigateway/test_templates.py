"""Mapping templates render as API Gateway renders them, or are refused by name."""

import json

import pytest

from local.apigateway.template_values import Input, JsonBodyError, VtlError
from local.apigateway.templates import Template


def compiled(text: str) -> Template:
    return Template(text, "GET /x request template")


def render(text: str, body: str = "", **params: dict[str, str]) -> str:
    context = {"authorizer": {"sub": "u-1", "ok": True}, "identity": {"sourceIp": "192.0.2.1"}}
    return compiled(text).render(Input(body, params), {**context, "requestTimeEpoch": 7}).text


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain $5 #ff 100%", "plain $5 #ff 100%"),
        (
            "$context.authorizer.sub|$!context.authorizer.none|${context.identity.sourceIp}",
            "u-1||192.0.2.1",
        ),
        ("$context.authorizer.ok $context.requestTimeEpoch $context.requestId.", "true 7 ."),
        ('#set($a = "${context.authorizer.sub}-$context.identity.sourceIp")$a', "u-1-192.0.2.1"),
        ("#if($input.params('q').matches(''))none#{else}$input.params('q')#end", "none"),
        ("#if($input.params('q').matches('a'))a#elseif($input.params('q').matches(''))b#end", "b"),
        ("#set($i = 1)#set($x = 'a b')$x $i", "a b 1"),
        ("#set($yes = $input.params('q').matches('.*'))#if($yes)$yes#end", "true"),
        ('#set($t = "$!context.authorizer.none")#if($t.matches(""))empty#end', "empty"),
        ("#* block *#a## line\nb", "ab"),
    ],
)
def test_renders(text: str, rendered: str) -> None:
    assert render(text) == rendered


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("matches('^http://localhost(:[0-9]{1,5})?$')", "true"),
        ('matches("http")', "false"),  # Java matches the whole text
        ('matches("http://localhost:[0-9]{1,5}")', "true"),
        (r"matches('http:\/\/localhost:8080')", "true"),
    ],
)
def test_matches_is_that_of_java(call: str, expected: str) -> None:
    headers = {"origin": "http://localhost:8080"}
    assert render(f"$input.params('origin').{call}", header=headers) == expected
    assert render(f"$input.params().header.get('origin').{call}", header=headers) == expected


def test_regular_expressions_know_ascii_digits_only() -> None:
    with pytest.raises(VtlError, match=r"\\d is not supported; as in \[0-9\]"):
        compiled(r"$input.params('q').matches('\d')")
    assert render("$input.params('q').matches('[0-9]')", querystring={"q": "٣"}) == "false"


def test_input_reads_body_and_parameters() -> None:
    body = '{"pets": [{"name": "a\\"b"}], "n": 1.5, "deep": {"x": null, "y": "é"}}'
    assert json.loads(render("$input.json('$')", body)) == json.loads(body)
    assert render("$input.json('$.deep.y') $input.json(\"$.n\")", body) == '"é" 1.5'
    assert render("$input.json('$.none')|$input.json('$.deep.x')|", body) == '""|""|'
    assert render("$input.json('$')") == "{}"
    # Path before query string before header; names are case-sensitive.
    params = {
        "path": {"id": "1"},
        "querystring": {"id": "2", "q": "3"},
        "header": {"id": "4", "h": "5"},
    }
    assert (
        render(
            "$input.params('id')$input.params('q')$input.params('h')$input.params('H')", **params
        )
        == "135"
    )
    text = "#set($all = $input.params().header)$all.get('h')$input.params().path.get('id')"
    assert render(text, **params) == "51"


def test_overrides_are_set_by_the_template() -> None:
    template = compiled(
        """#set($context.requestOverride.path.key = "replies/$context.authorizer.sub/1.json")
#set($context.requestOverride.header['x-a'] = "1")
#set($context.responseOverride.header.Access-Control-Allow-Origin = "http://localhost")
#set($context.responseOverride.status = 404)
{}"""
    )
    rendered = template.render(Input("", {}), {"authorizer": {"sub": "u"}})
    assert rendered.text.strip() == "{}"
    assert rendered.request == {
        "path": {"key": "replies/u/1.json"},
        "header": {"x-a": "1"},
        "querystring": {},
    }
    assert rendered.response == {
        "status": 404,
        "header": {"Access-Control-Allow-Origin": "http://localhost"},
    }


@pytest.mark.parametrize(
    "condition",
    [
        "$context.authorizer.none",
        "!$context.authorizer.none",
        "''",
        "0",
        "[]",
        "!''",
        "$input.params('q') == ''",
        "$input.params('q').matches('a') && $input.params('q').matches('b')",
        "true",
    ],
)
def test_refuses_conditions_that_depend_on_the_velocity(condition: str) -> None:
    with pytest.raises(VtlError, match="depends on whether null and empty values count as true"):
        compiled(f"#if({condition})yes#end")


@pytest.mark.parametrize(
    "origin",
    [{}, {"Origin": ""}, {"Origin": "http://localhost:1"}, {"origin": "http://localhost:1"}],
)
def test_conditions_on_a_text_pass(origin: dict[str, str]) -> None:
    text = """#set($headers = $input.params().header)
#set($o = "$!headers.get('Origin')$!headers.get('origin')")
#if($o.matches('http://localhost(:[0-9]{1,5})?'))named $o#{else}none#end"""
    named = "".join(origin.values())
    assert render(text, header=origin).strip() == (f"named {named}" if named else "none")


@pytest.mark.parametrize(
    "text",
    [
        # A check that passes because there is nothing to check.
        "#if($context.authorizer.none.matches('x'))let in#end",
        "#if($input.params().header.get('none').matches('x'))let in#end",
        # Set in a branch that is not taken.
        "#if($input.params('q').matches('x'))#set($a = 'b')#end#if($a.matches('b'))let in#end",
        "#if($input.params('q').matches('x'))#set($a = $input.params('q').matches('y'))#end"
        "#if($a)let in#end",
        "#if($input.params('q').matches('x'))#set($h = $input.params().header)#end$h.get('x')",
    ],
)
def test_a_method_of_null_counts_as_true_on_api_gateway(text: str) -> None:
    with pytest.raises(VtlError, match="depends on whether null"):
        render(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("$nope", r"\$nope is never set"),
        ("#if($orgin.matches('x'))#end", r"\$orgin is never set"),
        ("$later#set($later = 'x')", r"\$later is never set"),
        ("$context.athorizer.sub", r"\$context.athorizer.sub is not supported"),
        ("$context.authorizer", r"\$context.authorizer is not supported"),
        ("$input.boddy", r"\$input.boddy is not supported"),
        ("$input.json", r"\$input.json is not supported"),
        ("$input.params('q', 'r')", r"\$input.params\('q', 'r'\) is not supported"),
        ("$input.params('q').upper()", r"upper\(\) is not supported"),
        ("$input.params('q').bytes", "bytes is not supported"),
        ("$input.params('q').matches('[a-z&&[b]]')", "class operators"),
        ("$input.params('q').matches('(')", "regular expression"),
        ("$input.params('q').matches($input.params('p'))", "is not supported"),
        ("$input.json('$..a')", "is not supported"),
        ("$input.params().header", "a map where text is needed"),
        ("#set($h = $input.params().header)$h", "a map where text is needed"),
        ("#set($h = $input.params().header)$h.matches('x')", "not supported on parameters"),
        ("#set($t = 'x')$t.get('x')", "not supported on a text"),
        ("#set($x = 'a')#set($x = 1)", r"\$x is set to a text and to a number"),
        ("#if('x' == 1)#end", r"#if\('x' == 1\) is not supported"),
        ("#include('x')", "#include is not supported"),
        ("#parse('x')", "#parse is not supported"),
        ("#evaluate('x')", "#evaluate is not supported"),
        ("#macro(m)x#end", "#macro is not supported"),
        ("#nothing(1)", "#nothing is not supported; there are #set and #if"),
        ("#if(true)", "expected"),
        ("#set($context.stage = 'x')", "only overrides can be set"),
        ("#set($context.requestOverride.pth.key = 'x')", "only overrides can be set"),
        ("#set($input = 'x')", r"cannot set \$input;"),
        ("#set($x = 'a')#set($x.y = 'b')", r"cannot set \$x.y;"),
        ("$context.authorizer.sub-$context.stage", "swallows the hyphen"),
    ],
)
def test_refuses_what_api_gateway_would_not_render(text: str, says: str) -> None:
    with pytest.raises(VtlError, match=says) as caught:
        compiled(text)
    assert str(caught.value).startswith("GET /x request template: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "#set($context.responseOverride.status = 1)#set($context.responseOverride.status = 2)",
            "set twice",
        ),
        ("#set($context.requestOverride.path.a = $context.authorizer.none)", "set to null"),
    ],
)
def test_refuses_what_fails_only_when_it_renders(text: str, says: str) -> None:
    with pytest.raises(VtlError, match=says) as caught:
        render(text)
    assert str(caught.value).startswith("GET /x request template: ")


@pytest.mark.parametrize(
    "text",
    [
        "$stageVariables.mode",
        "$stageVariables['mode']",
        "$context.identity['sourceIp']",
        "#set($x = {'a': [1, 'two']})",
        "#set($x = [1, 2])",
        "#set($x = 1.5)",
        "#set($x = 1 + 1)",
        "#set($x = ('a'))",
        "#set($x = null)",
        "#set($x = true)",
        "#foreach($n in $input.params().header)$n#end",
        "#define($x)a#end",
        "#return('x')",
        "#stop",
        "${context.authorizer.none|'x'}",
        "$input.body",
        "$input.path('$')",
        "$input.params().header.origin",
        "$util.urlEncode('a b')",
        "$util.urlDecode('a+b')",
        "$util.base64Encode('a')",
        "$util.base64Decode('?')",
        "$util.escapeJavaScript('x')",
        "$util.parseJson('{')",
        "$util.toJson('x')",
        *(
            f"$input.params('q').{method}"
            for method in (
                "length()",
                "isEmpty()",
                "size()",
                "equals('x')",
                "equalsIgnoreCase('x')",
                "startsWith('x')",
                "endsWith('x')",
                "contains('x')",
                "indexOf('x')",
                "lastIndexOf('x')",
                "substring(7, 16)",
                "concat('x')",
                "trim()",
                "toLowerCase()",
                "toUpperCase()",
                "toString()",
                "replace('a', 'b')",
                "replaceAll('(o+)', '<$1>')",
                "replaceFirst('o', '0')",
                "get('x')",
            )
        ),
    ],
)
def test_refuses_what_no_template_of_the_api_uses(text: str) -> None:
    with pytest.raises(VtlError, match="not supported") as caught:
        compiled(text)
    assert str(caught.value).startswith("GET /x request template: ")


def test_a_body_that_is_no_json_is_the_callers_fault() -> None:
    with pytest.raises(JsonBodyError, match="Could not parse request body into json"):
        render("$input.json('$.a')", "no json")
