-- DuckDB views of the lake {place}, written by backlake {version}.
--
{use}-- Only files that a manifest lists are read. With a constant condition on snapshot_date, only files of those dates are.
{extension}
{beginning}{tables}
-- The latest snapshot. Its date is a variable, so DuckDB opens only the files of that date. With a subquery for the
-- date, it can open the files of all dates.
CREATE OR REPLACE {temp}VIEW pages_latest AS
SELECT * FROM pages WHERE snapshot_date = {latest};

-- In known responses, the links of the dimension `type` add up to `referring_pages` of the page, not to `backlinks`. For
-- the other dimensions, what they add up to is unknown.
CREATE OR REPLACE {temp}VIEW breakdowns_latest AS
SELECT * FROM breakdowns WHERE snapshot_date = {latest};

CREATE OR REPLACE {temp}VIEW targets_latest AS
SELECT * FROM targets WHERE snapshot_date = {latest};

-- One row per target and snapshot, from the second snapshot on, if the target has a page in this snapshot or in the
-- previous one. The values of `change`:
--   same, changed      the target has a page in both; `changed` if one of the three numbers differs
--   new, lost          it was requested for both, and has a page only in this one (new) or only in the previous one (lost)
--   added, removed     it was requested only for this one (added) or only for the previous one (removed)
--   unanswered         it failed, was refused or was not sent in one of them, so they cannot be compared
-- `backlake diff` uses the same words for the same targets.
CREATE OR REPLACE {temp}VIEW page_changes AS
WITH reported AS (
    -- Each row appears twice: for its own date, and for the next date as the previous value.
    SELECT snapshot_date AS night, true AS now, target, root_domain, backlinks, referring_domains, rank, NULL AS fate
    FROM pages WHERE matched
    UNION ALL
    SELECT {next}[snapshot_date], false, target, root_domain, backlinks, referring_domains, rank, NULL
    FROM pages WHERE matched
    UNION ALL
    SELECT snapshot_date, true, target, root_domain, NULL, NULL, NULL, fate
    FROM targets WHERE fate NOT IN ('duplicate', 'invalid')
    UNION ALL
    SELECT {next}[snapshot_date], false, target, root_domain, NULL, NULL, NULL, fate
    FROM targets WHERE fate NOT IN ('duplicate', 'invalid')
),
compared AS (
    SELECT
        night AS snapshot_date,
        {previous}[night] AS previous_date,
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
CREATE OR REPLACE {temp}VIEW page_changes_latest AS
SELECT * FROM page_changes WHERE snapshot_date = {latest};

-- One row per snapshot: its targets, requests and cost, from the manifests alone.
CREATE OR REPLACE {temp}VIEW run_costs AS
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

-- The pages, breakdowns and lines of one label, for example `pages_of('client', 'Acme')`.
CREATE OR REPLACE {temp}MACRO pages_of(name, label) AS TABLE
SELECT * FROM pages
SEMI JOIN (
    SELECT snapshot_date, root_domain, target FROM targets WHERE fate <> 'invalid' AND labels[name] = label
) USING (snapshot_date, root_domain, target);
CREATE OR REPLACE {temp}MACRO breakdowns_of(name, label) AS TABLE
SELECT * FROM breakdowns
SEMI JOIN (
    SELECT snapshot_date, root_domain, target FROM targets WHERE fate <> 'invalid' AND labels[name] = label
) USING (snapshot_date, root_domain, target);
CREATE OR REPLACE {temp}MACRO targets_of(name, label) AS TABLE
SELECT * FROM targets
SEMI JOIN (
    SELECT snapshot_date, root_domain, target FROM targets WHERE fate <> 'invalid' AND labels[name] = label
) USING (snapshot_date, root_domain, target);

-- One row per valid line: its labels, its share of the cost, and the page of its target. A line that repeats another one
-- has the fate and the page of that one, so that a page that two clients share counts for both.
CREATE OR REPLACE {temp}VIEW backlake_lines AS
WITH repeated AS (
    SELECT snapshot_date, root_domain, target, count(*) AS times
    FROM targets WHERE fate = 'duplicate' GROUP BY ALL
)
SELECT
    original.snapshot_date, original.source, original.line, original.input, original.target, original.target_kind,
    original.root_domain, original.labels, false AS is_duplicate, original.fate, original.reason, original.batch,
    1 + coalesce(repeated.times, 0) AS lines
FROM targets AS original
LEFT JOIN repeated USING (snapshot_date, root_domain, target)
WHERE original.fate NOT IN ('duplicate', 'invalid')
UNION ALL
SELECT
    duplicate.snapshot_date, duplicate.source, duplicate.line, duplicate.input, duplicate.target, duplicate.target_kind,
    duplicate.root_domain, duplicate.labels, true, original.fate, original.reason, original.batch,
    1 + repeated.times
FROM targets AS duplicate
JOIN targets AS original USING (snapshot_date, root_domain, target)
JOIN repeated USING (snapshot_date, root_domain, target)
WHERE duplicate.fate = 'duplicate' AND original.fate NOT IN ('duplicate', 'invalid');

-- What a batch cost is shared equally by its targets, and the share of a target by the lines that name it. What was
-- charged for a batch that no line names, such as one that was split later, is in no line. The shares are exact, in
-- millionths of a millionth of a dollar, so that a sum does not depend on its order.
CREATE OR REPLACE {temp}VIEW backlake_shares AS
SELECT snapshot_date, batch, micros * 1000000 // targets AS share
FROM (
    SELECT snapshot_date, batch, (sum(cost_usd) * 1000000)::BIGINT AS micros FROM requests GROUP BY ALL
)
JOIN (
    SELECT snapshot_date, batch, count(*) AS targets FROM targets WHERE batch IS NOT NULL GROUP BY ALL
) USING (snapshot_date, batch);

CREATE OR REPLACE {temp}VIEW labelled AS
SELECT
    line.* EXCLUDE (lines),
    (coalesce(share // lines, 0) * 0.000000000001::DECIMAL(18,12))::DECIMAL(18,12) AS cost_usd,
    page.* EXCLUDE (snapshot_date, root_domain, target, target_kind, matched)
FROM backlake_lines AS line
LEFT JOIN backlake_shares USING (snapshot_date, batch)
LEFT JOIN (SELECT * FROM pages WHERE matched) AS page USING (snapshot_date, root_domain, target);

-- One row per night, column of the target list and label: what its lines cost, and what its pages amount to. A page
-- counts once, however many lines with the label name it.
CREATE OR REPLACE {temp}VIEW label_daily AS
WITH line AS (
    SELECT snapshot_date, target, labels, 1 AS lines, coalesce(share, 0) AS cost
    FROM backlake_lines LEFT JOIN backlake_shares USING (snapshot_date, batch)
    WHERE lines = 1
    UNION ALL
    -- Targets that several lines name: each label once, with all of its lines.
    SELECT snapshot_date, target, MAP {entry.key: entry.value}, count(*), sum(cost)::BIGINT
    FROM (
        SELECT snapshot_date, target, coalesce(share // lines, 0) AS cost, unnest(map_entries(labels)) AS entry
        FROM backlake_lines LEFT JOIN backlake_shares USING (snapshot_date, batch)
        WHERE lines > 1
    )
    GROUP BY snapshot_date, target, entry
),
counted AS (
    SELECT
        snapshot_date, unnest(map_entries(labels)) AS entry, lines, cost, matched, backlinks, broken_backlinks,
        referring_main_domains, rank, backlinks_spam_score
    FROM line LEFT JOIN (SELECT * FROM pages WHERE matched) AS page USING (snapshot_date, target)
)
SELECT
    snapshot_date,
    entry.key AS name,
    entry.value AS label,
    sum(lines)::BIGINT AS lines,
    (sum(cost)::BIGINT * 0.000000000001::DECIMAL(18,12))::DECIMAL(18,12) AS cost_usd,
    count(*) FILTER (matched) AS pages,
    coalesce(sum(backlinks), 0)::BIGINT AS backlinks,
    coalesce(sum(broken_backlinks), 0)::BIGINT AS broken_backlinks,
    quantile_disc(referring_main_domains, 0.5) AS referring_main_domains_median,
    quantile_disc(rank, 0.5) AS rank_median,
    quantile_disc(backlinks_spam_score, 0.5) AS spam_score_median
FROM counted
WHERE entry.value IS NOT NULL
GROUP BY ALL;

-- One row per target and night on which it has a page, with the night before on which it has one.
CREATE OR REPLACE {temp}VIEW page_history AS
SELECT
    snapshot_date,
    target,
    root_domain,
    lag(snapshot_date) OVER night AS previous_date,
    backlinks,
    backlinks - lag(backlinks) OVER night AS backlinks_change,
    referring_domains,
    referring_domains - lag(referring_domains) OVER night AS referring_domains_change,
    referring_main_domains,
    referring_main_domains - lag(referring_main_domains) OVER night AS referring_main_domains_change,
    rank,
    rank - lag(rank) OVER night AS rank_change,
    backlinks_spam_score,
    broken_backlinks,
    first_seen,
    lost_date
FROM pages
WHERE matched
WINDOW night AS (PARTITION BY root_domain, target ORDER BY snapshot_date);

-- One row per root domain and night: what its pages amount to.
CREATE OR REPLACE {temp}VIEW domains AS
SELECT
    snapshot_date,
    root_domain,
    count(*) AS pages,
    coalesce(sum(backlinks), 0)::BIGINT AS backlinks,
    coalesce(sum(broken_backlinks), 0)::BIGINT AS broken_backlinks,
    quantile_disc(referring_main_domains, 0.5) AS referring_main_domains_median,
    quantile_disc(rank, 0.5) AS rank_median,
    any_value(main_domain_rank) AS main_domain_rank,
    quantile_disc(backlinks_spam_score, 0.5) AS spam_score_median
FROM pages
WHERE matched
GROUP BY snapshot_date, root_domain;

-- One row per root domain and night, from the second night on: what became of its pages since the night before.
-- `backlinks_change` is over the pages of both nights, so that a changed list is no gain and no loss.
CREATE OR REPLACE {temp}VIEW domain_changes AS
SELECT
    snapshot_date,
    previous_date,
    root_domain,
    count(*) FILTER (change IN ('same', 'changed')) AS in_both,
    count(*) FILTER (change = 'new') AS new,
    count(*) FILTER (change = 'lost') AS lost,
    count(*) FILTER (change = 'added') AS added,
    count(*) FILTER (change = 'removed') AS removed,
    count(*) FILTER (change = 'unanswered') AS unanswered,
    count(*) FILTER (referring_domains_change > 0) AS risen,
    count(*) FILTER (referring_domains_change < 0) AS fallen,
    sum(backlinks_before) FILTER (backlinks IS NOT NULL)::BIGINT AS backlinks_before,
    sum(backlinks) FILTER (backlinks_before IS NOT NULL)::BIGINT AS backlinks,
    sum(backlinks_change)::BIGINT AS backlinks_change
FROM page_changes
GROUP BY snapshot_date, previous_date, root_domain;

-- One row per night, dimension and key, from the second night on: its links now and the night before, over the pages of
-- both nights. The values of `change`: `same`, `changed`, `new` (no link before) and `gone` (no link now).
CREATE OR REPLACE {temp}VIEW breakdown_changes AS
WITH page AS (
    SELECT snapshot_date, root_domain, target FROM targets WHERE fate = 'returned'
),
in_both AS (
    SELECT night AS snapshot_date, root_domain, target
    FROM (
        SELECT snapshot_date AS night, root_domain, target FROM page
        UNION ALL
        SELECT {next}[snapshot_date], root_domain, target FROM page
    )
    GROUP BY ALL HAVING count(*) = 2
),
counted AS (
    SELECT snapshot_date, dimension, key, now, sum(links)::BIGINT AS links
    FROM (
        SELECT snapshot_date, root_domain, target, dimension, key, links, true AS now FROM breakdowns
        UNION ALL
        SELECT {next}[snapshot_date], root_domain, target, dimension, key, links, false FROM breakdowns
    )
    -- A join, and not a semi-join, so that a condition on the date reads only the files of two dates.
    JOIN in_both USING (snapshot_date, root_domain, target)
    GROUP BY ALL
),
compared AS (
    SELECT
        snapshot_date, dimension, key,
        coalesce(any_value(links) FILTER (NOT now), 0) AS links_before,
        coalesce(any_value(links) FILTER (now), 0) AS links
    FROM counted GROUP BY ALL
)
SELECT
    snapshot_date,
    {previous}[snapshot_date] AS previous_date,
    dimension,
    key,
    CASE
        WHEN links_before = links THEN 'same'
        WHEN links_before = 0 THEN 'new'
        WHEN links = 0 THEN 'gone'
        ELSE 'changed'
    END AS change,
    links_before,
    links,
    links - links_before AS links_change
FROM compared
WHERE {previous}[snapshot_date] IS NOT NULL;

-- One row per date from the first to the last one on which anything was started: `published`, or why not. `held` waits
-- for a decision, `open` was started and is not published, `pruned` was deleted, and on a `missing` date nothing was
-- started. `backlake status` also knows what runs at this moment. `gap` is the number of dates without a snapshot before
-- this one. Fates and costs of other dates are those of their last start.
CREATE OR REPLACE {temp}VIEW nights AS
WITH started AS (
    SELECT DISTINCT regexp_extract(file, '(\d{4}-\d{2}-\d{2})/[^/]*$', 1)::DATE AS night FROM glob('{lake}/{runs}')
),
pruned AS (
    SELECT DISTINCT regexp_extract(file, '(\d{4}-\d{2}-\d{2})/[^/]*$', 1)::DATE AS night FROM glob('{lake}/{pruned}')
),
last_start AS (
    SELECT
        regexp_extract(filename, '(\d{4}-\d{2}-\d{2})/[^/]*$', 1)::DATE AS night,
        json_transform(content, '{"exit_code": "INTEGER", "error": "VARCHAR", "lines": "BIGINT",
            "fates": "MAP(VARCHAR, BIGINT)", "requests": "BIGINT", "lower_bound": "BIGINT", "cost_usd": "DECIMAL(18,6)",
            "cost_unknown_usd": "DECIMAL(18,6)"}') AS said
    FROM read_text('{lake}/{summaries}')
    WHERE json_valid(content)
),
ends AS (
    SELECT min(night) AS first, max(night) AS last
    FROM (SELECT night FROM started UNION ALL SELECT snapshot FROM backlake_manifests)
),
night AS (
    SELECT
        night::DATE AS snapshot_date,
        CASE
            WHEN published.snapshot IS NOT NULL THEN 'published'
            WHEN pruned.night IS NOT NULL THEN 'pruned'
            WHEN said.exit_code = 5 THEN 'held'
            WHEN started.night IS NOT NULL THEN 'open'
            ELSE 'missing'
        END AS state,
        published,
        CASE WHEN state IN ('held', 'open') THEN said END AS said
    FROM (SELECT unnest(generate_series(first, last, INTERVAL 1 DAY))::DATE AS night FROM ends)
    LEFT JOIN (SELECT snapshot, lines, fates, requests, budget_usd FROM backlake_manifests) AS published
        ON published.snapshot = night
    LEFT JOIN started USING (night)
    LEFT JOIN pruned USING (night)
    LEFT JOIN last_start USING (night)
)
SELECT
    snapshot_date,
    state,
    said.error AS why,
    CASE WHEN state = 'published' THEN datediff('day', max(snapshot_date) FILTER (state = 'published') OVER before,
        snapshot_date) - 1 END AS gap,
    coalesce(published.lines, said.lines) AS lines,
    coalesce(published.fates, said.fates)['returned'] AS returned,
    coalesce(published.fates, said.fates)['absent'] AS absent,
    coalesce(published.fates, said.fates)['duplicate'] AS duplicate,
    coalesce(published.fates, said.fates)['invalid'] AS invalid,
    coalesce(published.fates, said.fates)['refused'] AS refused,
    coalesce(published.fates, said.fates)['failed'] AS failed,
    coalesce(published.fates, said.fates)['unsent'] AS unsent,
    coalesce(published.requests.sent, said.requests) AS requests,
    coalesce(published.requests.lower_bound, said.lower_bound) AS lower_bound,
    coalesce(published.requests.cost_usd, said.cost_usd) AS cost_usd,
    coalesce(published.requests.cost_unknown_usd, said.cost_unknown_usd) AS cost_unknown_usd,
    published.budget_usd
FROM night
WINDOW before AS (ORDER BY snapshot_date ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
ORDER BY snapshot_date;

-- What needed attention on each night, worst first. Where `told` is an earlier date, the alert was quiet.
CREATE OR REPLACE {temp}VIEW alerts AS
SELECT snapshot AS snapshot_date, position, alert.*
FROM (
    SELECT said.snapshot AS snapshot, generate_subscripts(said.alerts, 1) AS position, unnest(said.alerts) AS alert
    FROM (
        SELECT json_transform(content, '{"snapshot": "DATE", "alerts": [{"rule": "VARCHAR", "severity": "VARCHAR",
            "target": "VARCHAR", "root_domain": "VARCHAR", "labels": ["VARCHAR"], "detail": "VARCHAR", "before": "DOUBLE",
            "after": "DOUBLE", "what": "VARCHAR", "since": "DATE", "told": "DATE", "quiet": "BOOLEAN",
            "magnitude": "DOUBLE", "pages": "BIGINT", "sql": "VARCHAR"}]}') AS said
        -- A lake without alerts has no file to read.
        FROM read_text('{lake}/{alerts}')
        WHERE json_valid(content)
    )
);
