read_json(
        {manifests},
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
    )