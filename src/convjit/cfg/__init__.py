"""Net and parameter files: reading them, writing them, and finding those that come with convjit."""

from convjit.cfg.build import Loaded, parse_net
from convjit.cfg.find import NetTexts, find_net, load_net, net_names
from convjit.cfg.reader import Entry, Section, read
from convjit.cfg.writer import definition_text, parameter_text

__all__ = [
    "Entry",
    "Loaded",
    "NetTexts",
    "Section",
    "definition_text",
    "find_net",
    "load_net",
    "net_names",
    "parameter_text",
    "parse_net",
    "read",
]
