"""What a table says of each date: rows, sums, and what is easily lost on the way. The same for every engine."""


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def of_column(name, kind):
    """SQL for the facts of a column: a list of texts."""
    column = quoted(name)
    if kind.startswith(("BIGINT", "DECIMAL")):
        return f"[count({column}), sum({column})]::VARCHAR[]"
    if "STRUCT" in kind:
        # polars has no maps, but lists of their entries.
        column, kind = f"map_from_entries({column})", "MAP" + ("BIGINT" if "BIGINT" in kind else "")
    if kind.startswith("MAP"):
        keys, values = f"map_keys({column})", f"map_values({column})"
        total = f"sum(list_sum({values}))" if "BIGINT" in kind else "NULL"
        return (f"[count({column}), sum(len({keys})), {total}, sum(len(list_filter({keys}, lambda x: x = ''))), "
                f"sum(len(list_filter({values}, lambda x: x IS NULL)))]::VARCHAR[]")
    return f"[count({column})::VARCHAR, min({column})::VARCHAR, max({column})::VARCHAR]"


def facts(connection, relation):
    """The facts of a relation of DuckDB by date and column, and its columns with the kinds of their types."""
    described = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM {relation})").fetchall()
    kinds = {name: kind for name, kind in described if name != "snapshot_date"}
    columns = ", ".join(f"{of_column(name, kind)} AS {quoted(name)}" for name, kind in sorted(kinds.items()))
    result = connection.execute(f"SELECT snapshot_date::VARCHAR AS date, count(*) AS rows, {columns} FROM {relation} "
                                "GROUP BY snapshot_date ORDER BY snapshot_date")
    names = [entry[0] for entry in result.description]
    # As JSON would have them.
    return {row[0]: {name: value if value is None or isinstance(value, int) else list(value)
                     for name, value in zip(names[1:], row[1:])} for row in result.fetchall()}
