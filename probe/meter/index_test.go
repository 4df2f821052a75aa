package meter

import (
	"math/rand/v2"
	"testing"
)

// TestIndex compares the index with a map, with hashes that collide.
func TestIndex(t *testing.T) {
	for _, bits := range []int{3, 8, 32} {
		var st pool[entry]
		x := newIndex()
		model := map[key]ref{}
		rng := rand.New(rand.NewPCG(1, uint64(bits)))
		hash := func(k *key) uint32 { return uint32(k[0]*0x9e3779b97f4a7c15>>32) & uint32(1<<bits-1) * 0x01000193 }
		for i := range 30_000 {
			k := key{rng.Uint64N(uint64(min(3000, 20<<bits)))}
			h := hash(&k)
			if got := x.find(&st, &k, h); got != model[k] {
				t.Fatalf("%d bits, step %d: found %d, want %d", bits, i, got, model[k])
			}
			if r := model[k]; r != 0 {
				x.remove(h, r)
				st.give(r)
				delete(model, k)
			} else {
				r := st.take()
				st.at(r).key = k
				x.insert(h, r)
				model[k] = r
			}
			if x.used != len(model) || st.used != len(model) {
				t.Fatalf("%d used, %d open, want %d", x.used, st.used, len(model))
			}
		}
	}
}

// BenchmarkIndex compares the index with Go's map: a look-up among 100 000
// flows, in random order.
func BenchmarkIndex(b *testing.B) {
	const n = 100_000
	keys := make([]key, n)
	for i := range keys {
		for j := range keys[i] {
			keys[i][j] = rand.Uint64()
		}
	}
	h := newHasher()
	b.Run("index", func(b *testing.B) {
		var st pool[entry]
		x := newIndex()
		for i := range keys {
			r := st.take()
			st.at(r).key = keys[i]
			x.insert(h.sum(&keys[i]), r)
		}
		b.ResetTimer()
		for i := range b.N {
			k := &keys[i*7919%n]
			if st.at(x.find(&st, k, h.sum(k))).key[0] != k[0] {
				b.Fatal("wrong entry")
			}
		}
	})
	b.Run("map", func(b *testing.B) {
		var st pool[entry]
		m := map[key]ref{}
		for i := range keys {
			r := st.take()
			st.at(r).key = keys[i]
			m[keys[i]] = r
		}
		b.ResetTimer()
		for i := range b.N {
			k := &keys[i*7919%n]
			if st.at(m[*k]).key[0] != k[0] {
				b.Fatal("wrong entry")
			}
		}
	})
}
