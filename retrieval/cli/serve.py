"""``retrieval serve``."""

from __future__ import annotations

import argparse

HELP = "Serve indexes to browsers and programs: search by picture on a page, and over HTTP."
EXAMPLES = """
retrieval serve indexes/photos --open                     # the page, in the browser
retrieval serve ~/Pictures --open                         # a folder, which is built first
retrieval serve indexes/a indexes/b --port 8080           # two, at /i/a and /i/b
retrieval serve indexes/photos --write                    # tags and corrected labels may be written
retrieval serve indexes/photos --host 0.0.0.0 --token-file tokens.txt
retrieval serve indexes/photos --token-file tokens.txt --host-name pictures.example.org --root-path /pictures
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the verb takes."""
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="+",
        help="an index, by its folder or its address, or a folder of pictures, which is built first (indexes/NAME)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="the port to listen on (8000; 0: any)")
    parser.add_argument(
        "--host-name",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="names besides its own that browsers call the service by, as behind a proxy",
    )
    parser.add_argument(
        "--root-path", default="", metavar="/PATH", help="what a proxy puts before every path, such as /pictures"
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="lines `read TOKEN` and `write TOKEN`: who may see the pictures, and who may also change the index; "
        "needed for other addresses than this machine's",
    )
    parser.add_argument(
        "--write", action="store_true", help="without tokens: let everybody on this machine change the index"
    )
    parser.add_argument("--uploads", metavar="FOLDER", help="take in new pictures, and put them here")
    parser.add_argument(
        "--move-to",
        metavar="FOLDER",
        help="let who may write move duplicates out of the pictures' folder, to here, with an undo file",
    )
    parser.add_argument(
        "--mapped", action="store_true", help="read the indexes where they lie on the disk, not all of them into memory"
    )
    parser.add_argument("--open", action="store_true", help="show the page in the browser")


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from retrieval.service import serve  # here, so that --help and wrong arguments do not wait for it

    serve(
        args.paths,
        host=args.host,
        port=args.port,
        host_names=args.host_name,
        root_path=args.root_path,
        token_file=args.token_file,
        write=args.write,
        uploads=args.uploads,
        move_to=args.move_to,
        mapped=args.mapped,
        open_page=args.open,
        listening=_say,
    )
    return 0


def _say(address: str) -> None:
    print(address, flush=True)
