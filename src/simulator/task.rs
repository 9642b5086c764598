//! One paid task: checks it, looks up its targets, and charges it.

use std::collections::HashMap;

use super::draws::Draws;
use super::population::Page;
use super::response::{PageItem, TaskResponse};
use super::rules::{Accepted, Refusal, check, one_task};
use super::state::{Charge, State};
use crate::money::Usd;
use crate::provider::code;
use crate::targets::{Canonical, Spelling, TargetKind};

/// Does a task. A task that is refused costs nothing.
pub(super) fn perform(state: &State, body: &[u8]) -> TaskResponse {
    let accepted = one_task(body)
        .and_then(check)
        .and_then(|accepted| without_poison(state, accepted))
        .and_then(|accepted| covered(state, accepted));
    let (accepted, reserved) = match accepted {
        Ok(covered) => covered,
        Err(refusal) => return TaskResponse::of_failed_task(state, &refusal),
    };
    let mut items = items_of(state, &accepted);
    let id = state.next_id();
    shuffle(
        &mut items,
        &mut Draws::new(state.behaviour.seed, &[id.as_bytes()]),
    );
    let cost = state.behaviour.prices.cost(1, items.len() as u64);
    let charge = Charge {
        id: id.clone(),
        tag: accepted.tag().map(str::to_owned),
        posted: state.clock.now(),
        status_code: code::OK,
        targets: accepted.targets.len(),
        items: items.len(),
        cost,
    };
    state.charge(charge, reserved);
    TaskResponse::of_items(id, accepted, items, cost)
}

/// Reserves the most that the task can cost, or refuses it.
fn covered(state: &State, accepted: Accepted) -> Result<(Accepted, Usd), Refusal> {
    let targets = accepted.targets.len() as u64;
    let most = state.behaviour.prices.cost(1, targets);
    if state.reserve(most) {
        Ok((accepted, most))
    } else {
        Err(Refusal::new(code::OUT_OF_FUNDS, "Insufficient funds."))
    }
}

/// Refuses a task with a target that this provider refuses for reasons of its own.
fn without_poison(state: &State, accepted: Accepted) -> Result<Accepted, Refusal> {
    let poison = &state.behaviour.poison;
    let refused = accepted
        .targets
        .iter()
        .find(|(text, _)| poison.targets.contains(text));
    match refused {
        None => Ok(accepted),
        Some((text, _)) if poison.named => Err(Refusal::new(
            poison.code,
            format!("Invalid Field: 'target' ({text})."),
        )),
        Some(_) => Err(Refusal::new(poison.code, "Invalid Field: 'targets'.")),
    }
}

/// An item for each target that the population has, in the order of the targets.
fn items_of(state: &State, accepted: &Accepted) -> Vec<PageItem> {
    let date = state.date();
    let scale = if accepted.posted["rank_scale"] == "one_hundred" {
        10
    } else {
        1
    };
    let pages: Vec<Option<Page>> = accepted
        .targets
        .iter()
        .map(|(_, target)| {
            let population = &state.population;
            let mut page = population.page(date, target.text(), target.root_domain())?;
            page.rank /= scale;
            page.main_domain_rank /= scale;
            Some(page)
        })
        .collect();
    // By stem, the number of targets and of those that the population has.
    let mut stems: HashMap<&str, (u32, u32)> = HashMap::new();
    for ((_, target), page) in accepted.targets.iter().zip(&pages) {
        let (targets, found) = stems.entry(Spelling::of(target.text()).stem).or_default();
        *targets += 1;
        *found += u32::from(page.is_some());
    }
    let item_of = |((_, target), page): (&(String, Canonical), Option<Page>)| {
        let url = match stems[Spelling::of(target.text()).stem] {
            (1, _) => as_provider_writes(target.text(), target.kind()),
            // Other targets of the batch differ only in their spelling. If all of them have an
            // item, a client can tell by elimination which one is spelled otherwise.
            (targets, found) if targets == found => as_a_bare_url(target.text(), target.kind()),
            _ => target.text().to_owned(),
        };
        Some(PageItem::new(url, page?))
    };
    let items = accepted.targets.iter().zip(pages).filter_map(item_of);
    items.collect()
}

/// The url of an item whose target is one of several spellings: a domain is written as a URL that
/// differs from its home page only in the final slash.
fn as_a_bare_url(target: &str, kind: TargetKind) -> String {
    match kind {
        TargetKind::Page => target.to_owned(),
        TargetKind::Domain | TargetKind::Subdomain => format!("http://{target}"),
    }
}

/// The url of an item. The provider does not always write it in the way in which it was requested.
fn as_provider_writes(target: &str, kind: TargetKind) -> String {
    let draw = Draws::new(0x0F_0122, &[target.as_bytes()]).bits() % 100;
    match kind {
        TargetKind::Page if draw < 3 && !target.contains('?') => match target.strip_suffix('/') {
            Some(bare) if bare.matches('/').count() > 2 => bare.to_owned(),
            Some(_) => target.to_owned(),
            None => format!("{target}/"),
        },
        TargetKind::Domain | TargetKind::Subdomain if draw < 30 => format!("https://{target}/"),
        TargetKind::Domain | TargetKind::Subdomain if draw < 40 => format!("http://www.{target}/"),
        _ => target.to_owned(),
    }
}

fn shuffle<T>(items: &mut [T], draws: &mut Draws) {
    for last in (1..items.len()).rev() {
        items.swap(last, (draws.bits() % (last as u64 + 1)) as usize);
    }
}
