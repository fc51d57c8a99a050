// Starts `spucc lsp` for .spu files. Where vscode-languageclient is not installed, there are colours only.
const vscode = require("vscode");

let client;

exports.activate = async function () {
  let library;
  try {
    library = require("vscode-languageclient/node");
  } catch {
    return;
  }
  const settings = vscode.workspace.getConfiguration("spucc");
  const server = { command: settings.get("command"), args: ["lsp"], transport: library.TransportKind.stdio };
  client = new library.LanguageClient("spucc", "spucc", server, {
    documentSelector: [{ language: "spu" }],
    initializationOptions: { data: settings.get("data"), allowPaths: settings.get("allowPaths") },
  });
  await client.start();
};

exports.deactivate = () => client && client.stop();
