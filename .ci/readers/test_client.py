"""The simulated provider, used through the provider's official client."""

import pytest
from dataforseo_client import api_client, configuration
from dataforseo_client.api.appendix_api import AppendixApi
from dataforseo_client.api.backlinks_api import BacklinksApi
from dataforseo_client.models.backlinks_bulk_pages_summary_live_request_info import (
    BacklinksBulkPagesSummaryLiveRequestInfo as Request,
)

from lakes import LOGIN, PASSWORD


@pytest.fixture(scope="module")
def client(backlake):
    with backlake.simulator() as url:
        config = configuration.Configuration(host=url, username=LOGIN, password=PASSWORD)
        with api_client.ApiClient(config) as client:
            yield client


def test_the_official_client_reads_every_item_and_the_price(client):
    targets = [f"https://example{n % 40}.com/page/{n}" for n in range(500)] + [f"domain{n}.org" for n in range(50)]
    response = BacklinksApi(client).bulk_pages_summary_live([Request(targets=targets, tag="official")])
    task = response.tasks[0]
    assert (response.status_code, task.status_code, task.data["tag"]) == (20000, 20000, "official"), task
    items = task.result[0].items
    assert 500 < len(items) == task.result[0].items_count, len(items)
    assert any(item.referring_links_tld for item in items) and "referring_links_countries" in type(items[0]).model_fields
    # The client keeps fields that its model does not know apart.
    assert all(not getattr(item, "additional_properties", None) for item in items)
    assert abs(response.cost - (0.024 + 0.000036 * len(items))) < 1e-9, response.cost


def test_the_official_client_is_told_what_is_refused_and_pays_nothing(client):
    refused = BacklinksApi(client).bulk_pages_summary_live([Request(targets=["www.example.com"])])
    assert refused.tasks[0].status_code == 40501 and refused.tasks[0].cost == 0, refused


def test_the_official_client_reads_the_account(client):
    account = AppendixApi(client).user_data()
    assert account.status_code == 20000 and account.tasks[0].result, account
