"""Statements that run for every request: compiled once, and run by the driver itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Dialect, Select, TextClause, UpdateBase
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

Values = Mapping[str, Any]
Row = Sequence[Any]
_Conversion = Callable[[Any], Any]


class Statement:
    """A statement about tables, with named parameters for the values that differ.

    SQLAlchemy compiles it once for a dialect, and says how the types of parameters and columns
    convert. What it does besides around each execution (contexts, events, result objects) takes
    several times as long as the database needs for such a statement, and is left out.
    """

    def __init__(self, statement: Select[Any] | UpdateBase | TextClause) -> None:
        self._statement = statement
        self._prepared: dict[str, _Prepared] = {}

    def rows(self, cursor: DBAPICursor, dialect: Dialect, values: Values) -> Sequence[Row]:
        """All rows of a query, each in the order of its columns."""
        prepared = self._for(dialect)
        cursor.execute(prepared.text, prepared.converted(values))
        return prepared.read(cursor.fetchall())

    def run(self, cursor: DBAPICursor, dialect: Dialect, values: Sequence[Values]) -> None:
        """Change something, once for each of the values."""
        prepared = self._for(dialect)
        if len(values) == 1:
            cursor.execute(prepared.text, prepared.converted(values[0]))
        else:
            cursor.executemany(prepared.text, [prepared.converted(one) for one in values])

    def _for(self, dialect: Dialect) -> _Prepared:
        found = self._prepared.get(dialect.name)
        if found is None:
            found = self._prepared[dialect.name] = _prepare(self._statement, dialect)
        return found


class _Prepared(msgspec.Struct, frozen=True):
    """What the driver takes: the text, and the values that SQLAlchemy has put beside it.

    And what is to be converted: parameters by name, columns by place.
    """

    text: str
    fixed: Values
    parameters: tuple[tuple[str, _Conversion], ...]
    columns: tuple[tuple[int, _Conversion], ...]

    def converted(self, values: Values) -> Values:
        if not (self.fixed or self.parameters):
            return values
        converted = {name: convert(values[name]) for name, convert in self.parameters}
        return {**self.fixed, **values, **converted}

    def read(self, rows: Sequence[Row]) -> Sequence[Row]:
        if not self.columns:
            return rows
        return [self._read(list(row)) for row in rows]

    def _read(self, row: list[Any]) -> Row:
        for place, convert in self.columns:
            row[place] = convert(row[place])
        return row


def _prepare(statement: Select[Any] | UpdateBase | TextClause, dialect: Dialect) -> _Prepared:
    compiled = statement.compile(dialect=dialect)
    assert isinstance(compiled, SQLCompiler)  # noqa: S101 - what a statement compiles to
    fixed = {name: value for name, value in compiled.params.items() if value is not None}
    given = {
        name: _impl(parameter.type, dialect)
        for name, parameter in compiled.binds.items()
        if name not in fixed
    }
    columns = statement.selected_columns if isinstance(statement, Select) else ()
    shown = [_impl(column.type, dialect).result_processor(dialect, None) for column in columns]
    bound = {name: kind.bind_processor(dialect) for name, kind in given.items()}
    return _Prepared(
        str(compiled),
        fixed,
        tuple((name, convert) for name, convert in bound.items() if convert is not None),
        tuple((place, convert) for place, convert in enumerate(shown) if convert is not None),
    )


def _impl(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    return kind.dialect_impl(dialect)
