#error "core/ is pure: <netinet/in.h> may not be included here (docs/ARCHITECTURE.md)"
