#error "core/ is pure: <microhttpd.h> may not be included here (docs/ARCHITECTURE.md)"
