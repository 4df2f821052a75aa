package console

import (
	"sync"
	"time"
)

// cacheFor is how long an answer about the ledger serves: the parts of a page
// ask for the same range within one refresh.
const cacheFor = 2 * time.Second

// cacheSize bounds the entries of a cache.
const cacheSize = 64

// cache keeps a few answers for a moment. The zero value is ready.
type cache struct {
	mu      sync.Mutex
	entries map[string]entry
}

type entry struct {
	value any
	until time.Time
}

// cached returns what make returned for key a moment ago, or asks it. Errors are
// not kept. Two callers at the same time may both ask.
func cached[T any](c *cache, key string, make func() (T, error)) (T, error) {
	c.mu.Lock()
	e, ok := c.entries[key]
	c.mu.Unlock()
	now := time.Now()
	if ok && now.Before(e.until) {
		return e.value.(T), nil
	}
	v, err := make()
	if err != nil {
		return v, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil || len(c.entries) >= cacheSize {
		c.entries = map[string]entry{}
	}
	c.entries[key] = entry{v, now.Add(cacheFor)}
	return v, nil
}
