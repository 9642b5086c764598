-- DuckDB views of the lake {place}, written by backlake {version}.
--
-- Run this script at the start of a session: `duckdb -init FILE`, `.read FILE`, or `execute` from a program. It reads
-- the manifests once, so all queries of a session see the same snapshots. Run it again to see snapshots published since
-- then. The script only changes if the lake moves.
-- Only files that a manifest lists are read. With a constant condition on snapshot_date, only files of those dates are.
{extension}
-- The manifests, newest first.
SET VARIABLE backlake_manifests = (
    SELECT list(manifest ORDER BY manifest.snapshot DESC)
    FROM read_json(
        '{lake}/{manifests}',
        format = 'unstructured',
        columns = {
            snapshot: 'DATE',
            question: 'STRUCT(pipeline VARCHAR)',
            run: 'VARCHAR',
            generation: 'BIGINT',
            published_at: 'TIMESTAMPTZ',
            tables: 'MAP(VARCHAR, STRUCT(contract VARCHAR, files STRUCT(path VARCHAR)[]))',
            lines: 'BIGINT',
            fates: 'MAP(VARCHAR, BIGINT)',
            items: 'BIGINT',
            budget_usd: 'DECIMAL(18,6)',
            requests: 'STRUCT(sent BIGINT, retries BIGINT, lower_bound BIGINT, cost_usd DECIMAL(18,6), cost_unknown_usd DECIMAL(18,6))'
        }
    ) AS manifest
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
{tables}
-- The latest snapshot. Its date is a variable, so DuckDB opens only the files of that date. With a subquery for the
-- date, it can open the files of all dates.
CREATE OR REPLACE TEMP VIEW pages_latest AS
SELECT * FROM pages WHERE snapshot_date = getvariable('backlake_latest');

-- In known responses, the links of the dimension `type` add up to `referring_pages` of the page, not to `backlinks`. For
-- the other dimensions, what they add up to is unknown.
CREATE OR REPLACE TEMP VIEW breakdowns_latest AS
SELECT * FROM breakdowns WHERE snapshot_date = getvariable('backlake_latest');

CREATE OR REPLACE TEMP VIEW targets_latest AS
SELECT * FROM targets WHERE snapshot_date = getvariable('backlake_latest');

-- One row per target and snapshot, from the second snapshot on, if the target has a page in this snapshot or in the
-- previous one. The values of `change`:
--   same, changed      the target has a page in both; `changed` if one of the three numbers differs
--   new, lost          it was requested for both, and has a page only in this one (new) or only in the previous one (lost)
--   added, removed     it was requested only for this one (added) or only for the previous one (removed)
--   unanswered         it failed, was refused or was not sent in one of them, so they cannot be compared
-- `backlake diff` uses the same words for the same targets.
CREATE OR REPLACE TEMP VIEW page_changes AS
WITH reported AS (
    -- Each row appears twice: for its own date, and for the next date as the previous value.
    SELECT snapshot_date AS night, true AS now, target, root_domain, backlinks, referring_domains, rank, NULL AS fate
    FROM pages WHERE matched
    UNION ALL
    SELECT getvariable('backlake_next')[snapshot_date], false, target, root_domain, backlinks, referring_domains, rank, NULL
    FROM pages WHERE matched
    UNION ALL
    SELECT snapshot_date, true, target, root_domain, NULL, NULL, NULL, fate
    FROM targets WHERE fate NOT IN ('duplicate', 'invalid')
    UNION ALL
    SELECT getvariable('backlake_next')[snapshot_date], false, target, root_domain, NULL, NULL, NULL, fate
    FROM targets WHERE fate NOT IN ('duplicate', 'invalid')
),
compared AS (
    SELECT
        night AS snapshot_date,
        getvariable('backlake_previous')[night] AS previous_date,
        target,
        root_domain,
        any_value(fate) FILTER (now) AS fate,
        any_value(fate) FILTER (NOT now) AS fate_before,
        any_value(backlinks) FILTER (now) AS backlinks,
        any_value(backlinks) FILTER (NOT now) AS backlinks_before,
        any_value(referring_domains) FILTER (now) AS referring_domains,
        any_value(referring_domains) FILTER (NOT now) AS referring_domains_before,
        any_value(rank) FILTER (now) AS rank,
        any_value(rank) FILTER (NOT now) AS rank_before
    FROM reported
    -- DuckDB reads only the row groups that a condition on one of these three needs.
    GROUP BY night, root_domain, target
)
SELECT
    snapshot_date,
    previous_date,
    target,
    root_domain,
    CASE
        WHEN fate = 'returned' AND fate_before = 'returned' THEN
            CASE
                WHEN backlinks IS DISTINCT FROM backlinks_before
                    OR referring_domains IS DISTINCT FROM referring_domains_before
                    OR rank IS DISTINCT FROM rank_before THEN 'changed'
                ELSE 'same'
            END
        WHEN fate_before = 'absent' THEN 'new'
        WHEN fate = 'absent' THEN 'lost'
        WHEN fate_before IS NULL THEN 'added'
        WHEN fate IS NULL THEN 'removed'
        ELSE 'unanswered'
    END AS change,
    backlinks,
    backlinks_before,
    backlinks - backlinks_before AS backlinks_change,
    referring_domains,
    referring_domains_before,
    referring_domains - referring_domains_before AS referring_domains_change,
    rank,
    rank_before,
    rank - rank_before AS rank_change,
    fate,
    fate_before
FROM compared
WHERE previous_date IS NOT NULL AND (fate = 'returned' OR fate_before = 'returned');

-- The changes of the latest snapshot: only its files and those of the previous one are read.
CREATE OR REPLACE TEMP VIEW page_changes_latest AS
SELECT * FROM page_changes WHERE snapshot_date = getvariable('backlake_latest');

-- One row per snapshot: its targets, requests and cost, from the manifests alone.
CREATE OR REPLACE TEMP VIEW run_costs AS
SELECT
    snapshot AS snapshot_date,
    question.pipeline AS pipeline,
    run,
    coalesce(generation, 1) AS generation,
    published_at,
    lines,
    lines - fates['duplicate'] - fates['invalid'] AS targets,
    fates['returned'] AS returned,
    fates['absent'] AS absent,
    fates['refused'] + fates['failed'] + fates['unsent'] AS unanswered,
    requests.sent AS requests,
    requests.retries AS retries,
    requests.lower_bound AS lower_bound,
    items,
    requests.cost_usd AS cost_usd,
    requests.cost_unknown_usd AS cost_unknown_usd,
    budget_usd
FROM backlake_manifests
ORDER BY snapshot_date;

-- What needed attention on each night, worst first. Where `told` is an earlier date, the alert was quiet. A lake without
-- alerts has no file to read; the manifest in its place has none.
SET VARIABLE backlake_alerts = (
    SELECT coalesce(
        (SELECT list(file) FROM glob('{lake}/{alerts}')),
        (SELECT [min(file)] FROM glob('{lake}/{manifests}'))
    )
);
CREATE OR REPLACE TEMP VIEW alerts AS
SELECT snapshot AS snapshot_date, position, alert.*
FROM (
    SELECT snapshot, generate_subscripts(alerts, 1) AS position, unnest(alerts) AS alert
    FROM read_json(
        getvariable('backlake_alerts'),
        format = 'unstructured',
        columns = {
            snapshot: 'DATE',
            alerts: 'STRUCT(rule VARCHAR, severity VARCHAR, target VARCHAR, root_domain VARCHAR, labels VARCHAR[], detail VARCHAR, before DOUBLE, after DOUBLE, what VARCHAR, since DATE, told DATE, quiet BOOLEAN, magnitude DOUBLE, pages BIGINT, sql VARCHAR)[]'
        }
    )
);
