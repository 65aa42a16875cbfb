"""The delivery pipeline and its builds: `make pipeline` runs them on this machine."""

from recording.kinds.kind import Kind

PROJECT = Kind(
    token="aws:codebuild/project:Project",
    name_limit=150,
    name_pattern=r"[A-Za-z0-9][A-Za-z0-9\-_]{1,149}",
    shape={
        "id": "{arn}",
        "arn": "arn:aws:codebuild:{region}:{account}:project/{name}",
    },
    replaced_by=frozenset({"name"}),
)
PIPELINE = Kind(
    token="aws:codepipeline/pipeline:Pipeline",
    name_limit=100,
    name_pattern=r"[A-Za-z0-9.@\-_]+",
    shape={
        "id": "{name}",
        "arn": "arn:aws:codepipeline:{region}:{account}:{name}",
    },
    terraform="aws_codepipeline",
    replaced_by=frozenset({"name"}),
)
