-- Brings a DuckLake catalog up to date with the lake {place}, written by backlake {version}.
--
-- Run this script after each publication: it registers the files that the manifests list and the catalog does not, and
-- removes those that no manifest lists any more. All tables change in one DuckLake snapshot. Run again, it changes nothing.
-- It only has to be written again if the lake or the catalog moves, or if the lake has a new version of a contract.
-- The files stay the lake's: never run cleanup, checkpoint, merge or compaction functions of DuckLake on this catalog.
{extension}
ATTACH IF NOT EXISTS '{catalog}' AS backlake (DATA_PATH '{data}', DATA_INLINING_ROW_LIMIT 0);

-- The files of all published snapshots.
CREATE OR REPLACE TEMP TABLE backlake_published AS
SELECT entry.key AS name, entry.value.contract AS contract, unnest(entry.value.files).path AS path
FROM (
    SELECT unnest(map_entries(tables)) AS entry
    FROM read_json(
        '{lake}/{manifests}',
        format = 'unstructured',
        columns = {tables: 'MAP(VARCHAR, STRUCT(contract VARCHAR, files STRUCT(path VARCHAR)[]))'}
    )
);
UPDATE backlake_published SET path = '{lake}/' || path;
SELECT CASE WHEN true THEN error(
    'the lake has files of ' || contract || ', which this script does not know: write it again with backlake sql --ducklake'
) END AS problem
FROM backlake_published
WHERE contract NOT IN ({contracts})
LIMIT 1;

-- The files that the catalog lists, and the tables that they belong to.
CREATE OR REPLACE TEMP TABLE backlake_listed AS
SELECT file.data_file_id AS id, file.table_id, of_table.table_name, file.path, file.record_count, file.file_size_bytes
FROM __ducklake_metadata_backlake.ducklake_data_file AS file
JOIN __ducklake_metadata_backlake.ducklake_table AS of_table ON of_table.table_id = file.table_id
JOIN __ducklake_metadata_backlake.ducklake_schema AS of_schema ON of_schema.schema_id = of_table.schema_id
WHERE file.end_snapshot IS NULL AND of_table.end_snapshot IS NULL AND of_schema.end_snapshot IS NULL
    AND of_schema.schema_name = 'main' AND of_table.table_name IN ({names});
SELECT CASE WHEN true THEN error(
    'the table main.' || table_name || ' of this catalog has files that are not from the lake {place}, such as ' || path
    || ': nothing was changed; use a separate catalog for this lake'
) END AS problem
FROM backlake_listed
WHERE NOT starts_with(path, '{lake}/' || table_name || '/')
LIMIT 1;
CREATE OR REPLACE TEMP TABLE backlake_gone AS
SELECT * FROM backlake_listed WHERE path NOT IN (SELECT path FROM backlake_published);
{new}
-- Replaced and pruned files are no longer there, so that DELETE could not read them. What it would do, the DuckLake
-- specification describes: they end with the next snapshot, which is that of the new files below. Without new files, it is
-- made here.
SET VARIABLE backlake_next = (SELECT max(snapshot_id) + 1 FROM __ducklake_metadata_backlake.ducklake_snapshot);
BEGIN;
UPDATE __ducklake_metadata_backlake.ducklake_data_file
SET end_snapshot = getvariable('backlake_next')
WHERE data_file_id IN (SELECT id FROM backlake_gone);
UPDATE __ducklake_metadata_backlake.ducklake_table_stats AS stats
SET record_count = record_count - (SELECT coalesce(sum(gone.record_count), 0)::BIGINT FROM backlake_gone AS gone WHERE gone.table_id = stats.table_id),
    file_size_bytes = file_size_bytes - (SELECT coalesce(sum(gone.file_size_bytes), 0)::BIGINT FROM backlake_gone AS gone WHERE gone.table_id = stats.table_id)
WHERE table_id IN (SELECT table_id FROM backlake_gone);
INSERT INTO __ducklake_metadata_backlake.ducklake_snapshot
SELECT snapshot_id + 1, now(), schema_version, next_catalog_id, next_file_id
FROM __ducklake_metadata_backlake.ducklake_snapshot
WHERE snapshot_id = getvariable('backlake_next') - 1
    AND {nothing_new}
    AND EXISTS (FROM __ducklake_metadata_backlake.ducklake_data_file WHERE end_snapshot = getvariable('backlake_next'));
COMMIT;

BEGIN;
{tables}
COMMIT;
