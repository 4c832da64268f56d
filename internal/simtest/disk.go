package simtest

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// blockSize is how much of a file a crash keeps or loses as a whole: a disk's sector.
const blockSize = 512

// disk is a file system in memory that knows what has been synced, so that it can tell what a crash would leave. It is what Pebble's
// own crashable file system is, but that draws what is left in the order of Go's maps: here the same crash always leaves the
// same, as all draws are keyed by what they are about.
//
// It is a journalled file system: of the changes to a directory since it was last synced a crash keeps the first ones, in
// their order. Of the content of a file since then it keeps any blocks.
type disk struct {
	// before is called before each operation that changes something, and may make it fail. The operation is not done if so. It may
	// take time.
	before func(kind opKind, name string) error
	// avail tells how many bytes are free.
	avail func() uint64

	mu    sync.Mutex // of all nodes; it is not held while before runs
	root  *node
	locks map[string]bool
}

// opKind is what an operation does.
type opKind int

const (
	opCreate opKind = iota
	opWrite
	opSync
	opSyncDir
	opRemove
	opRename
	opLink
	opMkdir
)

var opNames = [...]string{"create", "write", "sync", "sync directory", "remove", "rename", "link", "make directory"}

func (k opKind) String() string { return opNames[k] }

// node is a file or a directory.
type node struct {
	dir  bool
	mod  time.Time
	data []byte

	synced []byte   // what a crash surely keeps of data
	dirty  [][2]int // the parts of data that may differ from it

	children, syncedChildren map[string]*node
	changes                  []change // of children since they were synced
}

// change is one of a directory: name is n's now, or nobody's if that is nil; and from, if there is one, is nobody's.
type change struct {
	name string
	n    *node
	from string
}

func (c change) apply(children map[string]*node) {
	delete(children, c.from)
	if c.n == nil {
		delete(children, c.name)
	} else {
		children[c.name] = c.n
	}
}

var _ vfs.FS = (*disk)(nil)

func newDisk() *disk {
	return &disk{
		before: func(opKind, string) error { return nil }, avail: func() uint64 { return 1 << 40 },
		root: newDir(), locks: map[string]bool{},
	}
}

func newDir() *node {
	return &node{dir: true, children: map[string]*node{}, syncedChildren: map[string]*node{}}
}

// crash returns what is left after a crash at this moment, of what was not synced about share percent. Which parts that are depends on
// seed.
func (d *disk) crash(share int, seed uint64) *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	left := newDisk()
	left.root = d.root.crash(share, seed, "", map[*node]*node{})
	return left
}

func (n *node) crash(share int, seed uint64, name string, done map[*node]*node) *node {
	if left, ok := done[n]; ok { // it has several names
		return left
	}
	left := &node{dir: n.dir, mod: n.mod}
	done[n] = left
	if !n.dir {
		left.data = n.keep(share, seed, name)
		left.synced = slices.Clone(left.data)
		return left
	}
	children := make(map[string]*node, len(n.children))
	for name, child := range n.syncedChildren {
		children[name] = child
	}
	kept := len(n.changes) * share / 100
	if share > 0 && share < 100 {
		kept = int(draw(seed, name, -1) % uint64(len(n.changes)+1))
	}
	for _, c := range n.changes[:kept] {
		c.apply(children)
	}
	left.children, left.syncedChildren = map[string]*node{}, map[string]*node{}
	for child, n := range children {
		left.children[child] = n.crash(share, seed, name+"/"+child, done)
	}
	for child, n := range left.children {
		left.syncedChildren[child] = n
	}
	return left
}

// keep returns what a crash keeps of a file.
func (n *node) keep(share int, seed uint64, name string) []byte {
	data := slices.Clone(n.synced)
	for at := 0; at < len(n.data); at += blockSize {
		end := min(at+blockSize, len(n.data))
		if !n.isDirty(at, end) || draw(seed, name, at)%100 >= uint64(share) {
			continue
		}
		if len(data) < end {
			data = append(data, make([]byte, end-len(data))...)
		}
		copy(data[at:end], n.data[at:end])
	}
	return data
}

func (n *node) isDirty(at, end int) bool {
	return slices.ContainsFunc(n.dirty, func(d [2]int) bool { return d[0] < end && at < d[1] })
}

// draw returns a number that depends on nothing but its arguments.
func draw(seed uint64, name string, at int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	_, _ = io.WriteString(h, name)
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
	return mix(h.Sum64())
}

// mix spreads what two numbers differ in over all bits: the finalizer of MurmurHash3.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// write writes to a file. The caller holds the disk's lock.
func (n *node) write(p []byte, at int) {
	if grow := at + len(p) - len(n.data); grow > 0 {
		n.data = slices.Grow(n.data, grow)[:at+len(p)]
	}
	copy(n.data[at:], p)
	if last := len(n.dirty) - 1; last >= 0 && n.dirty[last][1] == at {
		n.dirty[last][1] = at + len(p)
	} else {
		n.dirty = append(n.dirty, [2]int{at, at + len(p)})
	}
	n.mod = time.Now()
}

// sync makes all of a node durable. The caller holds the disk's lock.
func (n *node) sync() {
	if n.dir {
		for _, c := range n.changes {
			c.apply(n.syncedChildren)
		}
		n.changes = nil
		return
	}
	if grow := len(n.data) - len(n.synced); grow > 0 {
		n.synced = slices.Grow(n.synced, grow)[:len(n.data)]
	}
	for _, d := range n.dirty {
		copy(n.synced[d[0]:d[1]], n.data[d[0]:d[1]])
	}
	n.dirty = n.dirty[:0]
}

// set makes a change of a directory. The caller holds the disk's lock.
func (n *node) set(c change) {
	c.apply(n.children)
	n.changes = append(n.changes, c)
}

// find returns the node of a path. The caller holds the disk's lock.
func (d *disk) find(op, name string) (*node, error) {
	n := d.root
	for _, part := range split(name) {
		if n = n.children[part]; n == nil {
			return nil, notThere(op, name)
		}
	}
	return n, nil
}

// parent returns the directory that a path's last element is in, and that. The caller holds the disk's lock.
func (d *disk) parent(op, name string) (*node, string, error) {
	dir, base := path.Split(path.Clean(name))
	n, err := d.find(op, dir)
	return n, base, err
}

func split(name string) []string {
	var parts []string
	for name = path.Clean("/" + name); name != "/"; name = path.Dir(name) {
		parts = append(parts, path.Base(name))
	}
	slices.Reverse(parts)
	return parts
}

func notThere(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// change makes a change of a directory, once that is allowed.
func (d *disk) change(kind opKind, name string, f func(dir *node, base string) error) error {
	if err := d.before(kind, name); err != nil {
		return &fs.PathError{Op: kind.String(), Path: name, Err: err}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	dir, base, err := d.parent(kind.String(), name)
	if err != nil {
		return err
	}
	return f(dir, base)
}

func (d *disk) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	var n *node
	err := d.change(opCreate, name, func(dir *node, base string) error {
		n = &node{mod: time.Now()} // what had the name keeps its content for whoever has it open
		dir.set(change{name: base, n: n})
		return nil
	})
	return &file{disk: d, name: name, n: n}, err
}

func (d *disk) Link(from, to string) error {
	return d.change(opLink, to, func(dir *node, base string) error {
		n, err := d.find("link", from)
		switch {
		case err != nil:
			return err
		case dir.children[base] != nil:
			return &os.LinkError{Op: "link", Old: from, New: to, Err: fs.ErrExist}
		}
		dir.set(change{name: base, n: n})
		return nil
	})
}

func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("open", name)
	if err != nil {
		return nil, err
	}
	f := &file{disk: d, name: name, n: n}
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.Open(name, opts...)
	if errors.Is(err, fs.ErrNotExist) {
		return d.Create(name, c)
	}
	return f, err
}

func (d *disk) OpenDir(name string) (vfs.File, error) { return d.Open(name) }

func (d *disk) Remove(name string) error {
	return d.change(opRemove, name, func(dir *node, base string) error {
		switch n := dir.children[base]; {
		case n == nil:
			return notThere("remove", name)
		case len(n.children) > 0:
			return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
		}
		dir.set(change{name: base})
		return nil
	})
}

func (d *disk) RemoveAll(name string) error {
	return d.change(opRemove, name, func(dir *node, base string) error {
		if dir.children[base] != nil {
			dir.set(change{name: base})
		}
		return nil
	})
}

func (d *disk) Rename(from, to string) error {
	return d.change(opRename, to, func(dir *node, base string) error {
		source, name, err := d.parent("rename", from)
		if err != nil {
			return err
		}
		n := source.children[name]
		if n == nil {
			return notThere("rename", from)
		}
		if source != dir {
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: errors.New("simtest: from one directory to another")}
		}
		dir.set(change{name: base, n: n, from: name})
		return nil
	})
}

func (d *disk) ReuseForWrite(from, to string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.Rename(from, to); err != nil {
		return nil, err
	}
	return d.Open(to)
}

func (d *disk) MkdirAll(name string, _ os.FileMode) error {
	if err := d.before(opMkdir, name); err != nil {
		return &fs.PathError{Op: opMkdir.String(), Path: name, Err: err}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.root
	for _, part := range split(name) {
		if n.children[part] == nil {
			n.set(change{name: part, n: newDir()})
		}
		n = n.children[part]
	}
	return nil
}

func (d *disk) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locks[name] {
		return nil, syscall.EAGAIN
	}
	d.locks[name] = true
	if dir, base, err := d.parent("lock", name); err == nil && dir.children[base] == nil {
		dir.set(change{name: base, n: &node{mod: time.Now()}})
	}
	return unlock(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.locks, name)
	}), nil
}

type unlock func()

func (f unlock) Close() error { f(); return nil }

func (d *disk) List(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("list", name)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (d *disk) Stat(name string) (vfs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.find("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(name), nil
}

func (d *disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	free := d.avail()
	return vfs.DiskUsage{AvailBytes: free, TotalBytes: 1 << 40, UsedBytes: 1<<40 - free}, nil
}

func (*disk) PathBase(p string) string       { return path.Base(p) }
func (*disk) PathJoin(elem ...string) string { return path.Join(elem...) }
func (*disk) PathDir(p string) string        { return path.Dir(p) }
func (*disk) Unwrap() vfs.FS                 { return nil }

// file is an open file or directory.
type file struct {
	*disk
	name string
	n    *node
	at   int
}

func (f *file) Close() error { return nil }

func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, int64(f.at))
	f.at += n
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) ReadAt(p []byte, at int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, int64(f.at))
	f.at += n
	return n, err
}

func (f *file) WriteAt(p []byte, at int64) (int, error) {
	if err := f.before(opWrite, f.name); err != nil {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n.write(p, int(at))
	return len(p), nil
}

func (f *file) Sync() error {
	kind := opSync
	if f.n.dir {
		kind = opSyncDir
	}
	if err := f.before(kind, f.name); err != nil {
		return &fs.PathError{Op: "sync", Path: f.name, Err: err}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n.sync()
	return nil
}

func (f *file) SyncData() error { return f.Sync() }

// SyncTo promises nothing, which Pebble knows.
func (f *file) SyncTo(int64) (bool, error) { return false, nil }

func (f *file) Stat() (vfs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n.info(f.name), nil
}

func (*file) Preallocate(_, _ int64) error { return nil }
func (*file) Prefetch(_, _ int64) error    { return nil }
func (*file) Fd() uintptr                  { return vfs.InvalidFd }

// info is what is known of a node. The caller holds the disk's lock.
func (n *node) info(name string) vfs.FileInfo {
	return info{name: path.Base(name), size: int64(len(n.data)), mod: n.mod, dir: n.dir}
}

type info struct {
	name string
	size int64
	mod  time.Time
	dir  bool
}

func (i info) Name() string           { return i.name }
func (i info) Size() int64            { return i.size }
func (i info) ModTime() time.Time     { return i.mod }
func (i info) IsDir() bool            { return i.dir }
func (i info) Sys() any               { return nil }
func (i info) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o750
	}
	return 0o640
}
