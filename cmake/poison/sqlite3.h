#error "core/ is pure: <sqlite3.h> may not be included here (docs/ARCHITECTURE.md)"
