#error "core/ is pure: <pthread.h> may not be included here (docs/ARCHITECTURE.md)"
