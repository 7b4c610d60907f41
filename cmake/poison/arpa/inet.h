#error "core/ is pure: <arpa/inet.h> may not be included here (docs/ARCHITECTURE.md)"
