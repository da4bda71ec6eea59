package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
)

const (
	// cachePause is the least time between two writings of the cache: all of it is
	// written each time, and a few seconds matter to nobody who starts without Consul.
	cachePause = 5 * time.Second
	// cachePatience is how long Consul has to answer before the cache is served.
	cachePatience = time.Second
)

// consulCache is what Consul said, as it is in a file. It is never changed once made.
type consulCache struct {
	Of       string // where it was said, and of what
	At       time.Time
	Catalog  []string
	Services []cachedService
	KV       map[string][]byte // values that could be read
}

type cachedService struct {
	Name                  string
	Datacenter, Namespace string `json:",omitempty"`
	Partition, Tags       string `json:",omitempty"`
	Instances             []cachedInstance
}

type cachedInstance struct {
	ID, Host string
	Port     uint16
	Weight   int
	Serving  bool
	Labels   map[string]string `json:",omitempty"`
}

// scope is what a cache depends on: another Consul has other services.
func (c *ConsulConfig) scope() string {
	return fmt.Sprintf("%q", []string{c.apiConfig().Address, c.Datacenter, c.apiConfig().Namespace, c.apiConfig().Partition,
		c.TagPrefix, c.Filter, c.Require, c.TaggedAddress, c.KV})
}

// readCache reads the cache; nil if there is none that could be of use.
func (c *Consul) readCache() *consulCache {
	if c.Config.Cache == "" {
		return nil
	}
	cache, err := readConsulCache(c.Config.Cache, c.Config.scope())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.Log.Warn("the cache of what consul said is of no use", zap.String("file", c.Config.Cache), zap.Error(err))
		}
		return nil
	}
	return cache
}

func readConsulCache(file, scope string) (*consulCache, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	cache := &consulCache{}
	if err := json.Unmarshal(text, cache); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if cache.Of != scope {
		return nil, fmt.Errorf("%s is of another configuration: %s, now %s", file, cache.Of, scope)
	}
	return cache, nil
}

// writeConsulCache replaces the file, so that it is never half written.
func writeConsulCache(file string, cache *consulCache) (err error) {
	text, err := json.Marshal(cache)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// remind has the run start from what Consul said before.
func (w *consulWatch) remind(cache *consulCache) {
	if cache == nil {
		return
	}
	w.recall(cache.At)
	w.catalog = cache.Catalog
	w.reminded = make(map[consulQuery][]consulInstance, len(cache.Services))
	for _, s := range cache.Services {
		list := make([]consulInstance, len(s.Instances))
		for i, in := range s.Instances {
			list[i] = consulInstance{in.ID, in.Serving, in.Host, in.Port, in.Weight, w.Config.labelText(in.Labels), in.Labels}
		}
		w.reminded[consulQuery{s.Name, s.Datacenter, s.Namespace, s.Partition, s.Tags}] = list
	}
	if w.Config.KV != "" && w.ParseFragment != nil {
		for _, key := range slices.Sorted(maps.Keys(cache.KV)) {
			// What an older version could read and this one cannot is for followKV to report.
			if fragment := w.ParseFragment(key, cache.KV[key]); fragment.counts() {
				w.fragments.take(key, cache.KV[key], fragment)
			}
		}
	}
	w.patience = time.After(cachePatience)
	w.Log.Info("serves what consul said before until it answers", zap.Time("at", cache.At), zap.Int("services", len(cache.Services)))
}

// cache is what there is to remember.
func (w *consulWatch) cache() *consulCache {
	cache := &consulCache{Of: w.Config.scope(), At: time.Now(), Catalog: w.catalog, KV: maps.Clone(w.fragments.values)}
	for q, s := range w.services {
		c := cachedService{q.name, q.dc, q.namespace, q.partition, q.tags, make([]cachedInstance, len(s.instances))}
		for i := range s.instances {
			in := &s.instances[i]
			c.Instances[i] = cachedInstance{in.id, in.host, in.port, in.weight, in.serving, in.labels}
		}
		cache.Services = append(cache.Services, c)
	}
	return cache
}

// remember writes the cache in a while, if Consul has said all that was asked.
func (w *consulWatch) remember() {
	if w.Config.Cache != "" && w.unsaved && w.known.Load() && w.save == nil && !w.saving {
		w.save = time.After(cachePause)
	}
}

// saveNow begins to write the cache, which may take long.
func (w *consulWatch) saveNow() {
	w.save, w.unsaved, w.saving = nil, false, true
	cache := w.cache()
	w.running.Go(func() {
		err := writeConsulCache(w.Config.Cache, cache)
		w.tell(func() { w.saved(err) })
	})
}

// saveLast writes what is not written yet when the run has ended.
func (w *consulWatch) saveLast() {
	if w.Config.Cache != "" && w.unsaved && w.known.Load() {
		w.saved(writeConsulCache(w.Config.Cache, w.cache()))
	}
}

func (w *consulWatch) saved(err error) {
	w.saving = false
	if err != nil && !w.unwritable {
		w.Log.Warn("what consul says is not kept for the next start", zap.String("file", w.Config.Cache), zap.Error(err))
	}
	w.unwritable = err != nil
}
