"""The protocol: documents in, answers out. The only module that imports pygls.

Of a program only what an answer needs is run: the statement at hand and backwards what it reads (`needed`), in a thread of
its own, and the answer waits for it at most `PATIENCE` seconds. Where that is too little, it is given from the syntax tree
alone: what an older version of the text meant is never shown at a place of the present one. The whole program is run and
judged in another thread, when typing pauses.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcInvalidParams
from pygls.lsp.server import LanguageServer
from pygls.uris import from_fs_path, to_fs_path
from pygls.workspace import TextDocument

from spucc import __version__
from spucc.diagnostics import Diagnostic, Span
from spucc.grammar import tree
from spucc.grammar.model import RECURSION
from spucc.lsp.document import Document, Model, Setting, diagnosed

PATIENCE = 0.08
PAUSE = 0.15
"""Seconds that an answer waits for a run, and that typing has to pause before diagnostics are looked for."""

_KINDS = {
    "keyword": lsp.CompletionItemKind.Keyword,
    "variable": lsp.CompletionItemKind.Variable,
    "function": lsp.CompletionItemKind.Function,
    "type": lsp.CompletionItemKind.Class,
}
_SYMBOLS = {"fn": lsp.SymbolKind.Function, "query": lsp.SymbolKind.Event, "data": lsp.SymbolKind.Constant}


@dataclass(eq=False)
class Open:
    """An open document: its present version, what was run of it for answers (by the statement asked about), and the last version
    that was judged."""

    document: Document
    runs: dict[int, Future[Model]] = field(default_factory=dict)
    last: Model | None = None
    timer: threading.Timer | None = None


def setting_of(data: tuple[Path, ...], allow_paths: tuple[Path, ...], uri: str) -> Setting:
    """The data files of a program: those of the settings, and one beside it of the same name."""
    where = to_fs_path(uri)
    if where is None or not uri.startswith("file:"):
        return Setting(uri)
    path = Path(where)
    beside = [path.with_suffix(end) for end in (".json", ".npz", ".csv")]
    files = tuple(f if f.is_absolute() else path.parent / f for f in data)
    return Setting(str(path), path.parent, (*files, *(f for f in beside if f.is_file())), allow_paths)


@dataclass(eq=False)
class Service:
    """What the server holds and how it answers; `data` and `allow_paths` come from the editor's settings."""

    server: LanguageServer
    data: tuple[Path, ...] = ()
    allow_paths: tuple[Path, ...] = ()
    opened: dict[str, Open] = field(default_factory=dict)
    judging: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "spucc-judging"))
    answering: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "spucc-answering"))

    # --- documents ---

    def initialize(self, params: lsp.InitializeParams) -> None:
        options: Any = params.initialization_options
        if isinstance(options, dict):
            self.data = _paths(options.get("data"))
            self.allow_paths = _paths(options.get("allowPaths"))

    def did_open(self, params: lsp.DidOpenTextDocumentParams) -> None:
        self.refresh(params.text_document.uri, 0.0)

    def did_change(self, params: lsp.DidChangeTextDocumentParams) -> None:
        self.refresh(params.text_document.uri, PAUSE)

    def did_save(self, params: lsp.DidSaveTextDocumentParams) -> None:
        self.refresh(params.text_document.uri, 0.0)

    def did_close(self, params: lsp.DidCloseTextDocumentParams) -> None:
        gone = self.opened.pop(params.text_document.uri, None)
        if gone is not None and gone.timer is not None:
            gone.timer.cancel()
        self.publish(params.text_document.uri, [])

    def shutdown(self, _: Any) -> None:
        for entry in self.opened.values():
            if entry.timer is not None:
                entry.timer.cancel()
        self.opened.clear()
        for worker in (self.judging, self.answering):
            worker.shutdown(wait=False, cancel_futures=True)

    def refresh(self, uri: str, pause: float) -> None:
        """Take a new version in; it is judged after a pause."""
        source = self.server.workspace.get_text_document(uri).source
        before = self.opened.get(uri)
        if before is not None:
            if before.timer is not None:
                before.timer.cancel()
            before.document.abandon()
        entry = Open(
            Document(source, setting_of(self.data, self.allow_paths, uri)),
            last=before.last if before else None,
        )
        self.opened[uri] = entry
        entry.timer = threading.Timer(pause, self.judging.submit, (self.judge, uri, entry))
        entry.timer.daemon = True
        entry.timer.start()

    def judge(self, uri: str, entry: Open) -> None:
        """Publish what is wrong with a version that is still the present one."""
        if self.opened.get(uri) is not entry:
            return
        model = entry.document.model
        if self.opened.get(uri) is not entry:
            return
        entry.last = model
        found = diagnosed(model)
        if self.opened.get(uri) is entry:
            document = self.server.workspace.get_text_document(uri)
            self.publish(uri, [translated(d, entry.document, document) for d in found])

    def publish(self, uri: str, found: list[lsp.Diagnostic]) -> None:
        self.server.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(uri=uri, diagnostics=found)
        )

    def model_at(self, entry: Open, line: int, column: int) -> Model | None:
        """The present version, run as far as the statement at a place needs it, if that is done in time."""
        root = entry.document.needs.root(line, column)
        if root is None:
            return None
        if root not in entry.runs:
            entry.runs[root] = self.answering.submit(entry.document.needed_by, root)
        try:
            return entry.runs[root].result(PATIENCE)
        except TookTooLong:
            return None

    def place(self, params: Any) -> tuple[Open, TextDocument, int, int]:
        uri = params.text_document.uri
        if uri not in self.opened:
            self.refresh(uri, 0.0)
        document = self.server.workspace.get_text_document(uri)
        at = document.position_from_client_units(params.position)
        return self.opened[uri], document, at.line + 1, at.character + 1

    # --- questions ---

    def hover(self, params: lsp.HoverParams) -> lsp.Hover | None:
        entry, _, line, column = self.place(params)
        text = entry.document.hover(line, column, self.model_at(entry, line, column))
        return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text)) if text else None

    def definition(self, params: lsp.DefinitionParams) -> lsp.Location | None:
        entry, document, line, column = self.place(params)
        model = None
        if entry.document.symbol(line, column) is None:
            model = self.model_at(entry, line, column)
        span = entry.document.definition(line, column, model)
        if span is None:
            return None
        if span.file == entry.document.setting.name:
            return lsp.Location(params.text_document.uri, reach(span, document))
        return lsp.Location(from_fs_path(str(Path(span.file).resolve())) or "", _plain(span))

    def references(self, params: lsp.ReferenceParams) -> list[lsp.Location]:
        entry, document, line, column = self.place(params)
        symbol = entry.document.symbol(line, column)
        spans = (
            [] if symbol is None else symbol.places() if params.context.include_declaration else symbol.uses
        )
        return [lsp.Location(params.text_document.uri, reach(s, document)) for s in spans]

    def prepare_rename(self, params: lsp.PrepareRenameParams) -> lsp.Range | None:
        entry, document, line, column = self.place(params)
        symbol = entry.document.symbol(line, column)
        if symbol is None:
            return None
        here = next(s for s in symbol.places() if s.line == line and s.column <= column <= s.end_column)
        return reach(here, document)

    def rename(self, params: lsp.RenameParams) -> lsp.WorkspaceEdit:
        entry, document, line, column = self.place(params)
        found = entry.document.rename(line, column, params.new_name)
        if isinstance(found, str):
            raise JsonRpcInvalidParams(found)
        edits = [lsp.TextEdit(reach(s, document), params.new_name) for s in found]
        return lsp.WorkspaceEdit(changes={params.text_document.uri: edits})

    def completion(self, params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        entry, _, line, column = self.place(params)
        found = entry.document.completion(line, column, entry.last)
        return [lsp.CompletionItem(label=w, kind=_KINDS[kind], detail=detail) for w, kind, detail in found]

    def formatting(self, params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
        document = self.server.workspace.get_text_document(params.text_document.uri)
        text = Document(document.source, Setting(params.text_document.uri)).formatted()
        if text is None or text == document.source:
            return None
        whole = lsp.Range(lsp.Position(0, 0), lsp.Position(len(document.lines) + 1, 0))
        return [lsp.TextEdit(whole, text)]

    def symbols(self, params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        uri = params.text_document.uri
        if uri not in self.opened:
            self.refresh(uri, 0.0)
        document = self.server.workspace.get_text_document(uri)
        found = []
        for s in self.opened[uri].document.names.symbols:
            if s.kind in ("index", "parameter"):
                continue
            kind = _SYMBOLS.get(s.kind, lsp.SymbolKind.Variable)
            here = reach(s.span, document)
            whole = reach(s.node.span, document) if not isinstance(s.node, tree.Name) else here
            found.append(lsp.DocumentSymbol(s.name, kind, whole, here, detail=s.kind))
        return found


def create() -> LanguageServer:
    """The server with all its features."""
    server = LanguageServer("spucc", f"v{__version__}")
    tell = server.report_server_error

    def report(error: Exception, source: Any) -> None:
        """An editor that is gone cannot be told; pygls would tell it of that failure too, and so on without end."""
        if not isinstance(error, OSError | ValueError):
            tell(error, source)

    server.report_server_error = report
    service = Service(server)
    sys.setrecursionlimit(RECURSION)  # for all threads, so that none takes it from under another
    features: list[tuple[str, Any, Any]] = [
        (lsp.INITIALIZE, service.initialize, None),
        (lsp.TEXT_DOCUMENT_DID_OPEN, service.did_open, None),
        (lsp.TEXT_DOCUMENT_DID_CHANGE, service.did_change, None),
        (lsp.TEXT_DOCUMENT_DID_SAVE, service.did_save, None),
        (lsp.TEXT_DOCUMENT_DID_CLOSE, service.did_close, None),
        (lsp.SHUTDOWN, service.shutdown, None),
        (lsp.TEXT_DOCUMENT_HOVER, service.hover, None),
        (lsp.TEXT_DOCUMENT_DEFINITION, service.definition, None),
        (lsp.TEXT_DOCUMENT_REFERENCES, service.references, None),
        (lsp.TEXT_DOCUMENT_PREPARE_RENAME, service.prepare_rename, None),
        (lsp.TEXT_DOCUMENT_RENAME, service.rename, lsp.RenameOptions(prepare_provider=True)),
        (
            lsp.TEXT_DOCUMENT_COMPLETION,
            service.completion,
            lsp.CompletionOptions(trigger_characters=["~", ":", "="]),
        ),
        (lsp.TEXT_DOCUMENT_FORMATTING, service.formatting, None),
        (lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL, service.symbols, None),
    ]
    for name, answer, options in features:
        server.feature(name, options)(_function(answer))
    return server


def _function(method: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A method as a plain function: pygls writes attributes on what it registers."""

    def answer(params: Any) -> Any:
        return method(params)

    return answer


def _paths(given: Any) -> tuple[Path, ...]:
    return tuple(Path(p) for p in given if isinstance(p, str)) if isinstance(given, list) else ()


def _plain(span: Span) -> lsp.Range:
    start = lsp.Position(max(span.line - 1, 0), max(span.column - 1, 0))
    return lsp.Range(start, lsp.Position(max(span.end_line - 1, 0), max(span.end_column - 1, 0)))


def reach(span: Span, document: TextDocument) -> lsp.Range:
    """A span as the client counts: from 0, columns in its units."""
    return document.range_to_client_units(_plain(span))


def translated(d: Diagnostic, document: Document, file: TextDocument) -> lsp.Diagnostic:
    """A diagnostic for the editor. One in an imported file is shown at the import; a datum that an editor cannot know is no
    error of the text."""
    own = d.span is not None and d.span.file == document.setting.name
    text = d.title if own or d.span is None else f"{d.span}: {d.title}"
    message = "\n".join(
        [text, *([d.label] if d.label else []), *d.notes, *([f"help: {d.help}"] if d.help else [])]
    )
    if own and d.span is not None:
        at = reach(d.span, file)
    else:
        at = next((reach(s, file) for s in _imports(document)), _plain(Span("", 1, 1, 1, 1)))
    severity = lsp.DiagnosticSeverity.Error if d.is_error else lsp.DiagnosticSeverity.Warning
    if d.code == "E0301":
        severity = lsp.DiagnosticSeverity.Information
    related = [
        lsp.DiagnosticRelatedInformation(lsp.Location(file.uri, reach(label.span, file)), label.text)
        for label in d.labels
        if label.span.file == document.setting.name
    ]
    return lsp.Diagnostic(at, message, severity, code=d.code, source="spucc", related_information=related)


def _imports(document: Document) -> Iterable[Span]:
    return (s.span for s in document.program.statements if isinstance(s, tree.Import))
