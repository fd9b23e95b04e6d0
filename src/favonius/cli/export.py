"""`favonius export`: a step's model leaves its run, checked, and goes to the hub where that is asked for."""

from __future__ import annotations

import argparse

from favonius.errors import UserError, machine_failures
from favonius.export.make import Export, export
from favonius.export.push import Push, listed, push, token
from favonius.progress import Progress


def run(options: argparse.Namespace) -> None:
    where = _where(options)
    if where is not None and not options.dry_run:
        token()
    wanted = Export(options.step, options.to, options.kind, options.out)
    progress = Progress()
    with machine_failures(wanted.folder()):
        folder = export(wanted, progress)
    files = listed(folder)
    for name, size in files:
        print(f"{size:>14,}  {name}")
    print(f"exported: {folder}")
    if where is None:
        return
    seen = "private" if where.private else "public"
    if options.dry_run:
        print(f"would go to {where.repository} ({seen}): {len(files)} files, {sum(size for _, size in files):,} bytes")
        return
    print(f"pushed ({seen}): {push(folder, where, f'{options.step.name}, exported by favonius')}")


def _where(options: argparse.Namespace) -> Push | None:
    if options.push is None:
        if options.private or options.public or options.dry_run:
            raise UserError(
                "--private, --public and --dry-run go with --push REPO; name a repository, or leave them out"
            )
        return None
    return Push(options.push, private=not options.public)
