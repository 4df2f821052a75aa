package privacy

// cache keeps the values that were used last, at most limit of them.
type cache[K comparable, V any] struct {
	limit  int
	places map[K]int32
	slots  []slot[K, V] // slots[0] is the ring's head: next is the newest, previous the oldest
}

type slot[K comparable, V any] struct {
	key            K
	value          V
	next, previous int32
}

func newCache[K comparable, V any](limit int) *cache[K, V] {
	return &cache[K, V]{limit: limit, places: make(map[K]int32), slots: make([]slot[K, V], 1)}
}

func (c *cache[K, V]) get(k K) (v V, ok bool) {
	i, ok := c.places[k]
	if !ok {
		return v, false
	}
	if c.slots[0].next != i {
		c.unlink(i)
		c.link(i)
	}
	return c.slots[i].value, true
}

// put adds a key that is not there, and keeps it.
func (c *cache[K, V]) put(k K, v V) {
	var i int32
	if len(c.slots) <= c.limit {
		i = int32(len(c.slots))
		c.slots = append(c.slots, slot[K, V]{})
	} else {
		i = c.slots[0].previous
		delete(c.places, c.slots[i].key)
		c.unlink(i)
	}
	c.slots[i].key, c.slots[i].value = k, v
	c.link(i)
	c.places[k] = i
}

func (c *cache[K, V]) unlink(i int32) {
	s := &c.slots[i]
	c.slots[s.previous].next, c.slots[s.next].previous = s.next, s.previous
}

func (c *cache[K, V]) link(i int32) {
	n := c.slots[0].next
	c.slots[i].previous, c.slots[i].next = 0, n
	c.slots[n].previous, c.slots[0].next = i, i
}
