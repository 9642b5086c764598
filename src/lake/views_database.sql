-- The manifests of these snapshots, newest first.
CREATE OR REPLACE TABLE backlake_manifests AS
SELECT * FROM {read} ORDER BY snapshot DESC;
