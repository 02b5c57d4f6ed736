import argparse

from tfcompress.compat import argparse_parsers


def made():
    parser = argparse.ArgumentParser()
    one = parser.add_subparsers().add_parser("one", help="does one thing")
    one.add_argument("--shown")
    one.add_argument("--hidden", help=argparse.SUPPRESS)
    return parser, one


def test_subcommands():
    parser, one = made()
    assert argparse_parsers.subcommands(parser) == {"one": (one, "does one thing")}


def test_arguments():
    _, one = made()
    assert [action.dest for action in argparse_parsers.arguments(one)] == ["help", "shown"]
