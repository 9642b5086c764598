//! Rows come out in the same batches whatever happens on the way.

use arrow::array::{Array as _, AsArray as _, Int64Array, StringArray};
use proptest::prelude::*;

use super::*;

type Line = (Option<String>, String, i64);

/// The rows of each batch.
fn lines(batches: impl Iterator<Item = Result<RecordBatch>>) -> Vec<Vec<Line>> {
    let lines = batches.map(|batch| {
        let batch = batch.unwrap();
        let (roots, targets) = (
            batch.column(1).as_string::<i32>(),
            batch.column(0).as_string::<i32>(),
        );
        let numbers = batch
            .column(2)
            .as_primitive::<arrow::datatypes::Int64Type>();
        let row = |row| {
            let root = roots.is_valid(row).then(|| roots.value(row).to_owned());
            (root, targets.value(row).to_owned(), numbers.value(row))
        };
        (0..batch.num_rows()).map(row).collect()
    });
    lines.collect()
}

/// The key of the smallest of these rows, unless that is null.
fn smallest<'a>(rows: impl Iterator<Item = &'a Line>) -> Option<Vec<String>> {
    let (root, target, _) = rows.min()?;
    Some(vec![root.clone()?, target.clone()])
}

proptest! {
    #[test]
    fn rows_come_back_sorted_and_complete_in_the_same_batches_in_any_order_of_arrival_and_with_any_memory_budget_and_taken_at_any_time(
        batches in prop::collection::vec(prop::collection::vec(("[ab]{0,2}", prop::option::of("(aaaaaaa)?[abé]{0,2}")), 1..40), 0..12),
        seed in any::<u64>(),
        budget in prop_oneof![Just(1_usize), Just(4_000), Just(1 << 30)],
        batch_rows in 1_usize..50,
        often in 0_u8..4,
    ) {
        let schema = Arc::new(Schema::new(vec![
            Field::new("target", DataType::Utf8, true),
            Field::new("root_domain", DataType::Utf8, true),
            Field::new("number", DataType::Int64, false),
        ]));
        let key = ["root_domain", "target"].map(str::to_owned);
        let mut sorter = Sorter::new(Arc::clone(&schema), &key, budget, std::env::temp_dir()).unwrap();
        sorter.batch_rows = batch_rows;
        let mut expected = Vec::new();
        let mut arriving = Vec::new();
        for (rank, rows) in (0..).zip(batches) {
            let from = expected.len() as i64;
            let numbers = Int64Array::from_iter_values(from..from + rows.len() as i64);
            let columns: Vec<arrow::array::ArrayRef> = vec![
                Arc::new(StringArray::from_iter_values(rows.iter().map(|(target, _)| target))),
                Arc::new(StringArray::from_iter(rows.iter().map(|(_, root)| root.as_deref()))),
                Arc::new(numbers),
            ];
            arriving.push((rank, RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()));
            let numbered = (from..).zip(rows).map(|(number, (target, root))| (root, target, number));
            expected.extend(numbered);
        }
        let mut random = fastrand::Rng::with_seed(seed);
        random.shuffle(&mut arriving);
        let mut found = Vec::new();
        let mut left = lines(arriving.iter().map(|(_, batch)| Ok(batch.clone())));
        for (rank, batch) in arriving {
            left.remove(0);
            prop_assert!(!sorter.is_late(&batch).unwrap());
            sorter.push(rank, batch.clone());
            if let Some(key) = smallest(left.iter().flatten()).filter(|_| random.u8(..4) < often)
                && let Some(mut taken) = sorter.take_below(key).unwrap()
            {
                found.extend(lines(&mut taken));
                sorter.carry(taken).unwrap();
                // A batch that comes again is late if its first row was taken.
                let first = lines([Ok(batch.clone())].into_iter()).remove(0).into_iter().min();
                let is_taken = found.iter().flatten().any(|line| first.as_ref() == Some(line));
                prop_assert!(!is_taken || sorter.is_late(&batch).unwrap());
            }
            if sorter.is_full() {
                sorter.spill().unwrap();
            }
        }
        expected.sort();
        let expected: Vec<_> = expected.chunks(batch_rows).map(<[_]>::to_vec).collect();
        found.extend(lines(sorter.finish().unwrap()));
        prop_assert_eq!(found, expected);
    }
}
