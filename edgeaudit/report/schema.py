"""audit.json as a file: its JSON Schema, reading and writing it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DataclassSchema

from edgeaudit.errors import RunError
from edgeaudit.report.files import write_atomically
from edgeaudit.report.model import SCHEMA_VERSION, Audit
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["JsonWriter", "audit_text", "json_schema", "read_audit", "schema_text", "write_audit"]


class _WithDataclasses(GenerateJsonSchema):
    """Describes a dataclass as it does a model; pydantic leaves out its docstring, and that no other key is allowed."""

    def dataclass_schema(self, schema: DataclassSchema) -> JsonSchemaValue:
        """See the class."""
        about = {"additionalProperties": False, "description": inspect.cleandoc(schema["cls"].__doc__ or "")}
        return {**super().dataclass_schema(schema), **about}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of what `write_audit` writes."""
    schema = Audit.model_json_schema(mode="serialization", schema_generator=_WithDataclasses)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:edgeaudit:audit:{SCHEMA_VERSION}",
        "title": "edgeaudit audit.json",
        "version": SCHEMA_VERSION,
        **{key: value for key, value in schema.items() if key != "title"},
    }


def schema_text() -> str:
    """The schema as the text of audit.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def audit_text(audit: Audit) -> str:
    """The text of audit.json: one line per format, figure, curve or record, so that two runs can be compared by line.

    Keys keep the model's order, those of free-form tables are sorted, and floats are written so that reading them
    gives the same number.
    """
    parts = [f"{json.dumps(key)}: {_lines(value)}" for key, value in audit.model_dump(mode="json").items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f" {_compact(item)}" for item in value) + "\n]"
    return _compact(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def write_audit(audit: Audit, path: Path) -> None:
    """Write audit.json atomically.

    Raises `StoreError` where the folder cannot be written.
    """
    write_atomically(path, audit_text(audit))


class JsonWriter(Writer):
    """Writes audit.json."""

    spec: ClassVar[WriterSpec] = WriterSpec("json", "audit.json", "every figure, for programs")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        write_audit(audit, path)


def read_audit(path: Path) -> Audit:
    """Read audit.json.

    Raises `RunError`, which names file, key and remedy, if the file is missing, not JSON, of another schema version, or
    does not match the schema.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError as exc:
        raise RunError(f"{path}: no such file; `edgeaudit run` writes it when an audit has finished") from exc
    except OSError as exc:
        raise RunError(f"{path}: cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise RunError(f"{path}: byte {exc.start} is not UTF-8; {_AGAIN}") from exc
    try:
        content = json.loads(text)
    except json.JSONDecodeError as exc:
        raise RunError(f"{path}: line {exc.lineno}, column {exc.colno}: not JSON ({exc.msg}); {_AGAIN}") from exc
    _check_version(path, content)
    try:
        return Audit.model_validate_json(text, strict=True)
    except ValidationError as exc:
        raise RunError(f"{path}: {_first_error(exc)}; {_AGAIN}") from exc


_AGAIN = "the file was edited or truncated: write it again with `edgeaudit run`, which repeats only missing work"


def _check_version(path: Path, content: Any) -> None:
    if not isinstance(content, dict) or "schema_version" not in content:
        raise RunError(f"{path}: schema_version: missing, so this is not an audit.json; {_AGAIN}")
    version = content["schema_version"]
    if version != SCHEMA_VERSION:
        raise RunError(
            f"{path}: schema_version: the file has {version!r} and this edgeaudit reads {SCHEMA_VERSION!r}; "
            "read it with the edgeaudit that wrote it (key tool.version), or write it again with `edgeaudit run`"
        )


def _first_error(exc: ValidationError) -> str:
    first, *rest = exc.errors(include_url=False, include_input=False)
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(rest)} more)" if rest else ""
    return f"{key}: {first['msg']}{more}"
