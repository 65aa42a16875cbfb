"""Mapping templates render as API Gateway renders them, or fail saying why."""

import json

import pytest

from local.apigateway.template_values import Input, JsonBodyError, Util, VtlError
from local.apigateway.templates import Template


def render(text: str, body: str = "", **params: dict[str, str]) -> str:
    context = {"authorizer": {"sub": "u-1"}, "identity": {"sourceIp": "192.0.2.1"}}
    return (
        Template(text, "GET /x request template")
        .render(Input(body, params), context, {"mode": "x"})
        .text
    )


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("plain $5 #ff 100%", "plain $5 #ff 100%"),
        (
            "$context.authorizer.sub|$!context.authorizer.none|${context.identity.sourceIp}",
            "u-1||192.0.2.1",
        ),
        ("$stageVariables.mode $stageVariables['mode'] ${stageVariables['mode']}", "x x x"),
        ('#set($a = "${context.authorizer.sub}-$stageVariables.mode")$a', "u-1-x"),
        ("#if($input.params('q') == \"\")none#{else}$input.params('q')#end", "none"),
        ("#set($x = {'a': [1, 'two']})$x.a[1] $x['a'][0] $x.get('a').size()", "two 1 2"),
        ("#set($i = 1)#set($x = {'a': [1, 'two']})$x.a[$i] $x['a'][$i]", "two two"),
        ("#foreach($n in [1, 2, 3])$n#if($foreach.hasNext),#end#end", "1,2,3"),
        ("#if(1 == 2)a#elseif('x' == 'x')b#{else}c#end", "b"),
        ("#if(!$input.params('q').isEmpty())a#{else}b#end", "b"),
        ('#if("a" == "a" && (1 > 2 || true))yes#end', "yes"),
        ("#* block *#a## line\nb", "ab"),
        ('$util.urlEncode("a b/~*") $util.urlDecode("a+b%2F")', "a+b%2F%7E* a b/"),
        ('$util.base64Encode("é") $util.base64Decode("w6k=")', "w6k= é"),
        ('$util.parseJson(\'{"a": {"b": [7]}}\').a.b[0]', "7"),
    ],
)
def test_renders(text: str, rendered: str) -> None:
    assert render(text) == rendered


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ('matches("^http://localhost(:[0-9]{1,5})?$")', "true"),
        ('matches("http")', "false"),  # Java matches the whole text
        (r'matches("http://localhost:\d{1,5}")', "true"),
        ('startsWith("http:")', "true"),
        ('endsWith(":8080")', "true"),
        ('equals("x")', "false"),
        ("length()", "21"),
        ('contains("local")', "true"),
        ('indexOf("nowhere")', "-1"),
        ("substring(7, 16)", "localhost"),
        ('replaceAll("(o+)", "<$1>")', "http://l<o>calh<o>st:8080"),
        ('replaceFirst("o", "0")', "http://l0calhost:8080"),
        ('replace("http:", "")', "//localhost:8080"),
        ("toUpperCase().trim().isEmpty()", "false"),
    ],
)
def test_java_strings(call: str, expected: str) -> None:
    assert (
        render(f"$input.params('origin').{call}", header={"origin": "http://localhost:8080"})
        == expected
    )


def test_regular_expressions_know_ascii_digits_only() -> None:
    assert render(r"$input.params('q').matches('\d')", querystring={"q": "٣"}) == "false"


def test_input_reads_body_and_parameters() -> None:
    body = '{"pets": [{"name": "a\\"b"}], "n": 1.5, "deep": {"x-y": null}}'
    assert json.loads(render("$input.json('$')", body)) == json.loads(body)
    assert (
        render("$input.json('$.pets[0].name') $input.path('$.pets')[0].name", body) == '"a\\"b" a"b'
    )
    assert (
        render("$input.json(\"$['n']\")|$input.json('$.none')|$input.path('$.deep.x-y')|", body)
        == '1.5|""||'
    )
    assert render("$input.body", "as it is") == "as it is"
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
    assert render("$input.params().header.get('h')$input.params().path.id", **params) == "51"


def test_escape_java_script_is_that_of_apache_commons() -> None:
    assert (
        Util().escapeJavaScript("a'\"/\\\n\u00e9\U0001f600")
        == "a\\'\\\"\\/\\\\\\n\\u00E9\\uD83D\\uDE00"
    )
    # The developer guide's recipe for JSON: turn \' back.
    text = render(
        """$util.escapeJavaScript($input.params('q')).replaceAll("\\\\'","'")""",
        querystring={"q": "it's"},
    )
    assert text == "it's"


def test_overrides_are_set_by_the_template() -> None:
    template = Template(
        """#set($context.requestOverride.path.key = "replies/$context.authorizer.sub/1.json")
#set($context.requestOverride.header['x-a'] = "1")
#set($context.responseOverride.header.Access-Control-Allow-Origin = "http://localhost")
#set($context.responseOverride.status = 404)
{}""",
        "GET /x request template",
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
    "condition", ["$context.authorizer.none", "!$context.authorizer.none", "''", "0", "[]", "!''"]
)
def test_refuses_conditions_that_depend_on_the_velocity(condition: str) -> None:
    with pytest.raises(VtlError, match="depends on whether null and empty values count as true"):
        render(f"#if({condition})yes#end")


@pytest.mark.parametrize(
    "origin",
    [{}, {"Origin": ""}, {"Origin": "http://localhost:1"}, {"origin": "http://localhost:1"}],
)
def test_conditions_that_cover_every_velocity_pass(origin: dict[str, str]) -> None:
    text = """#set($o = $input.params().header.get('Origin'))
#if(!$o || $o == '')#set($o = $input.params().header.get('origin'))#end
#if($o && $o.matches('http://localhost(:[0-9]{1,5})?'))named $o#{else}none#end"""
    named = "".join(origin.values())
    assert render(text, header=origin).strip() == (f"named {named}" if named else "none")


def test_a_method_of_null_counts_as_true_on_api_gateway() -> None:
    # A check that passes because there is nothing to check: refused, whatever the check.
    with pytest.raises(VtlError, match="depends on whether null"):
        render("#if($context.authorizer.none.matches('x'))let in#end")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("$nope", r"\$nope is never set"),
        ("#if($orgin.matches('x'))#end", r"\$orgin is never set"),
        ("$context.athorizer.sub", r"\$context.athorizer is not a variable"),
        ("$input.boddy", r"\$input.boddy does not exist"),
        ("$util.toJson('x')", r"\$util.toJson does not exist"),
        ("$input.json", r"\$input.json needs arguments"),
        ("$util.urlEncode('a', 'b', 'c')", r"\$util.urlEncode: "),
        ("$input.params('q').upper()", r"upper\(\) is not supported on a string"),
        ("$input.params('q').size()", r"size\(\) is not supported on a string"),
        ("$input.params('q').bytes", "a string has no property 'bytes'"),
        ("$input.params('q').matches('[a-z&&[b]]')", "class operators"),
        ("$input.params('q').matches('(')", "regular expression"),
        ("$input.params('q').substring(9)", "outside of 0 characters"),
        ("$input.json('$..a')", "JSONPath"),
        ("$input.path('$')", "a map where text is needed"),
        ("#if('x' == 1)#end", "mixes text"),
        ("#include('x')", "#include"),
        ("#parse('x')", "#parse"),
        ("#evaluate('x')", "#evaluate"),
        ("#macro(m)x#end", "#macro"),
        ("#nothing(1)", "unknown directive #nothing"),
        ("#if(true)", "expected"),
        ("#set($context.stage = 'x')", "only overrides can be set"),
        ("#set($context.requestOverride.pth.key = 'x')", "only overrides can be set"),
        ("#set($input = 'x')", r"cannot set \$input;"),
        ("$context.authorizer.sub-$context.stage", "swallows the hyphen"),
        (
            "#set($context.responseOverride.status = 1)#set($context.responseOverride.status = 2)",
            "set twice",
        ),
        ("#set($context.requestOverride.path.a = $context.authorizer.none)", "set to null"),
        ("$util.parseJson('{')", "parseJson"),
        ("$util.base64Decode('?')", "base64Decode"),
        ("$util.urlEncode($input.path('$'))", "a map where text is needed"),
        ("#set($x = [1])$x[3]", "index 3 of a list of 1"),
        ("#set($x = 1)$x[3]", "cannot index"),
    ],
)
def test_refuses_what_api_gateway_would_not_render(text: str, says: str) -> None:
    with pytest.raises(VtlError, match=says) as caught:
        render(text)
    assert str(caught.value).startswith("GET /x request template: ")


def test_a_body_that_is_no_json_is_the_callers_fault() -> None:
    with pytest.raises(JsonBodyError, match="Could not parse request body into json"):
        render("$input.json('$.a')", "no json")
