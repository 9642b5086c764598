-- The manifests, newest first.
SET VARIABLE backlake_manifests = (
    SELECT list(manifest ORDER BY manifest.snapshot DESC)
    FROM {read} AS manifest
);
CREATE OR REPLACE TEMP VIEW backlake_manifests AS
SELECT manifest.* FROM (SELECT unnest(getvariable('backlake_manifests')) AS manifest);

-- The latest date, and for each date the next and the previous one.
SET VARIABLE backlake_latest = (SELECT max(snapshot) FROM backlake_manifests);
SET VARIABLE backlake_next = (
    SELECT map(list(snapshot), list(next))
    FROM (SELECT snapshot, lead(snapshot) OVER (ORDER BY snapshot) AS next FROM backlake_manifests)
);
SET VARIABLE backlake_previous = (
    SELECT map(list(snapshot), list(previous))
    FROM (SELECT snapshot, lag(snapshot) OVER (ORDER BY snapshot) AS previous FROM backlake_manifests)
);

-- The files of a table, and whether they follow different versions of its contract. If so, columns are matched by name,
-- and for that DuckDB opens all files.
CREATE OR REPLACE TEMP MACRO backlake_files(name) AS (
    SELECT list('{lake}/' || file.path)
    FROM (SELECT unnest(tables[name].files) AS file FROM backlake_manifests)
);
CREATE OR REPLACE TEMP MACRO backlake_contracts_differ(name) AS (
    SELECT count(DISTINCT tables[name].contract) > 1 FROM backlake_manifests
);
