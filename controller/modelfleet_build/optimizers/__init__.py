"""The bundled optimizer plug-ins, one module per runtime, each the only importer of its converter."""
