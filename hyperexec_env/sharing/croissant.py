"""The description of the data set of a site in Croissant 1.1 (MLCommons), a vocabulary on top of schema.org."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from hyperexec_env.sharing.tables import Table
from hyperexec_env.version import __version__

__all__ = ["croissant"]

_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_TYPES: Final = {"text": "sc:Text", "whole": "sc:Integer", "number": "sc:Float"}
_FORMATS: Final = {
    ".csv": "text/csv",
    ".parquet": "application/x-parquet",
    ".zip": "application/zip",
    ".json": "application/json",
}


def croissant(
    name: str, description: str, licence: str, date: str, tables: Sequence[tuple[Table, str]], files: Mapping[str, bytes]
) -> dict[str, Any]:
    """Return the description of a data set as JSON values.

    Args:
        name: Name of the data set.
        description: What it holds.
        licence: Licence of the results, an SPDX identifier or an address.
        date: Date of the publication, YYYY-MM-DD.
        tables: The tables, each with the path of its file.
        files: Contents of all data files by path.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": name,
        "description": description,
        "license": licence,
        "datePublished": date,
        "version": __version__,
        "isLiveDataset": False,
        "creator": {"@type": "sc:Organization", "name": name},
        "citeAs": f"{name}, {date}, made with HyperExec {__version__}",
        "distribution": [_file(path, content) for path, content in files.items()],
        "recordSet": [_records(table, path) for table, path in tables],
    }


def _file(path: str, content: bytes) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": PurePosixPath(path).name,
        "contentUrl": path,
        "contentSize": f"{len(content)} B",
        "encodingFormat": _FORMATS[PurePosixPath(path).suffix],
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _records(table: Table, path: str) -> dict[str, Any]:
    """Return the record set of a table: one field for each column."""
    identity = table.name.partition("/")[2]
    return {
        "@type": "cr:RecordSet",
        "@id": identity,
        "name": identity,
        "description": table.meaning,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{identity}/{column.name}",
                "name": column.name,
                "description": column.meaning,
                "dataType": _TYPES[column.kind],
                "source": {"fileObject": {"@id": path}, "extract": {"column": column.name}},
            }
            for column in table.columns
        ],
    }
