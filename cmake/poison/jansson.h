#error "core/ is pure: <jansson.h> may not be included here (docs/ARCHITECTURE.md)"
