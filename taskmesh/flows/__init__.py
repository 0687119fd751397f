"""Flow files: YAML and JSON to flows, flows to YAML, and the schema that editors read; the same for schedules."""

from taskmesh.flows.dumping import dump_flow, flow_document
from taskmesh.flows.files import load_flow, load_flow_file
from taskmesh.flows.schedules import load_schedule_file
from taskmesh.flows.schema import flow_schema

__all__ = ["dump_flow", "flow_document", "flow_schema", "load_flow", "load_flow_file", "load_schedule_file"]
