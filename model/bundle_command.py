"""``bouquet bundle``: makes keys, signs bundles with them, checks both, and has a bundle sample in another way."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from model.guidance import GUIDANCE_FORMAT, Guidance


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="bouquet bundle",
        description="Sign a bundle, check it and its signature, or write one that samples in another way.",
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(dest="action", title="actions", metavar="ACTION", required=True)
    keygen = actions.add_parser("keygen", help="make a key to sign with, and show its public half", allow_abbrev=False)
    keygen.add_argument("key", metavar="FILE", type=Path, help="where the private key goes; never one that is there")
    sign = actions.add_parser("sign", help="sign a bundle: content and card, into BUNDLE.sig", allow_abbrev=False)
    sign.add_argument("bundle", metavar="BUNDLE", type=Path)
    sign.add_argument("--key", metavar="FILE", type=Path, required=True, help="the private key")
    verify = actions.add_parser("verify", help="check a bundle and its signature", allow_abbrev=False)
    verify.add_argument("bundle", metavar="BUNDLE", type=Path)
    verify.add_argument(
        "--public-key", metavar="KEY", action="append", dest="trusted",
        help="who may have signed it, as keygen shows it; may be given again (default: anybody, and it says who)",
    )  # fmt: skip
    tune = actions.add_parser(
        "tune",
        help="write a bundle with the same weights that samples in another way; prints its content hash",
        allow_abbrev=False,
    )
    tune.add_argument("bundle", metavar="BUNDLE", type=Path)
    tune.add_argument("target", metavar="TARGET", type=Path, help="the new bundle; never one that is there")
    tune.add_argument("--guidance", metavar=GUIDANCE_FORMAT, help="as of `bouquet train`")
    tune.add_argument("--multistep-time-power", metavar="POWER", type=float, help="as of `bouquet train`")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is asked; exit code 0 done or good, 1 failed or not good (reason on stderr), 2 bad options."""
    options = parser()
    arguments = options.parse_args(argv)
    if arguments.action == "tune" and arguments.guidance is None and arguments.multistep_time_power is None:
        options.error("tune: nothing to change; give --guidance, --multistep-time-power or both")

    # Late, here and below, so that --help, bad options and keygen do not wait for the backend.
    from model.signature import SignatureError, public_key_text
    from model.signing_key import SigningKeyError, make_signing_key

    try:
        if arguments.action == "keygen":
            print(public_key_text(make_signing_key(arguments.key)))
            return 0
        return _tune(arguments) if arguments.action == "tune" else _sign_or_verify(arguments)
    except (SignatureError, SigningKeyError) as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or arguments.action}: {error.strerror or error}")


def _sign_or_verify(arguments: argparse.Namespace) -> int:
    from model.bundle import BundleError, bundle_hashes
    from model.signature import check_signature, sign
    from model.signing_key import read_signing_key

    try:
        hashes = bundle_hashes(arguments.bundle)
    except BundleError as error:
        return _fail(str(error))
    if arguments.action == "sign":
        print(sign(arguments.bundle, *hashes, read_signing_key(arguments.key)))
    else:
        signer = check_signature(arguments.bundle, *hashes, arguments.trusted)
        print(f"content {hashes.content_hash}\ncard {hashes.card_hash}\nsigned by {signer}")
    return 0


def _tune(arguments: argparse.Namespace) -> int:
    from model.bundle import BundleError, tune_bundle

    if arguments.target.exists():
        return _fail(f"{arguments.target}: there is a file already; give the new bundle another name")
    try:
        guidance = None if arguments.guidance is None else Guidance.parse(arguments.guidance)
        print(tune_bundle(arguments.bundle, arguments.target, guidance, arguments.multistep_time_power))
    except (BundleError, ValueError) as error:
        return _fail(str(error))
    return 0


def _fail(reason: str) -> int:
    print(f"bouquet bundle: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
