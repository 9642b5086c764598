"""The lineage events of a run are events of OpenLineage: its own client makes the same documents from the same values."""

import http.server
import json
import threading

from openlineage.client import event_v2
from openlineage.client.facet_v2 import error_message_run, output_statistics_output_dataset, schema_dataset
from openlineage.client.serde import Serde

from lakes import pipeline, write_lines


class Server(http.server.BaseHTTPRequestHandler):
    events, tokens = [], []

    def do_POST(self):
        self.events.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.tokens.append(self.headers["authorization"])
        self.send_response(201)
        self.end_headers()

    def log_message(self, *args):
        pass


def known(facet):
    """The fields of a facet without those that every facet has."""
    return {name: value for name, value in facet.items() if not name.startswith("_")}


def by_the_client(event):
    """The event as OpenLineage's client writes it."""
    run_facets, outputs = {}, []
    if "errorMessage" in event["run"]["facets"]:
        run_facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(**known(event["run"]["facets"]["errorMessage"]))
    for output in event["outputs"]:
        fields = [schema_dataset.SchemaDatasetFacetFields(**field) for field in output["facets"]["schema"]["fields"]]
        statistics = {name: output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(**known(facet))
                      for name, facet in output.get("outputFacets", {}).items()}
        outputs.append(event_v2.OutputDataset(output["namespace"], output["name"], outputFacets=statistics,
                                              facets={"schema": schema_dataset.SchemaDatasetFacet(fields=fields)}))
    return json.loads(Serde.to_json(event_v2.RunEvent(
        eventType=event_v2.RunState[event["eventType"]], eventTime=event["eventTime"], producer=event["producer"],
        run=event_v2.Run(event["run"]["runId"], facets=run_facets), job=event_v2.Job(**event["job"]),
        inputs=[event_v2.InputDataset(**one) for one in event["inputs"]], outputs=outputs)))


def plain(value):
    """A document without what the client adds or leaves out: the addresses of schemas and producers, and empty parts."""
    if isinstance(value, dict):
        parts = {name: plain(part) for name, part in value.items() if name not in ("_producer", "_schemaURL", "schemaURL", "_deleted")}
        return {name: part for name, part in parts.items() if part not in ({}, [], None)}
    return [plain(part) for part in value] if isinstance(value, list) else value


def test_the_client_of_openlineage_writes_the_same_events(backlake, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    targets = write_lines(tmp_path / "targets.txt", [f"site{n}.com" for n in range(150)])
    file = pipeline(tmp_path, tmp_path / "lake", targets)
    written = tmp_path / "events.ndjson"
    file.write_text(file.read_text() + f'[lineage]\nfile = "{written}"\nurl = "http://127.0.0.1:{server.server_port}/api/v1/lineage"\n')
    backlake.finish("run", file, "--max-cost-usd", "0.03", code=4)
    backlake.finish("run", file, env={"OPENLINEAGE_API_KEY": "a-token"})
    server.shutdown()
    events = [json.loads(line) for line in written.read_text().splitlines()]
    assert events == Server.events and [event["eventType"] for event in events] == ["START", "FAIL", "START", "COMPLETE"]
    assert Server.tokens == [None, None, "Bearer a-token", "Bearer a-token"]
    for event in events:
        assert plain(by_the_client(event)) == plain(event)
