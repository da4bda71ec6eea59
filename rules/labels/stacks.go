package labels

import (
	"cmp"
	"maps"
	"strings"
)

// stack is Subjects that have a service in common. All of their routers to it that
// have one name say the same.
type stack struct {
	group   string              // of its first Subject; whoever is in that group belongs here
	only    string              // what the name of the service has besides, "" for the first stack
	routers map[string]*element // to the service, by name; of several the first
}

// stacks are those of one service, the oldest first.
type stacks []*stack

// find is the stack that a Subject belongs to, by its routers to the service. If
// there is none, st is nil and only what tells a new one apart from all others.
func (list stacks) find(group string, routers map[string]*element) (st *stack, only string) {
	for _, st := range list {
		name := st.differing(routers)
		if name == "" || st.group == group {
			return st, st.only
		}
		if st.only == only {
			only += "@" + normalize(cmp.Or(routers[name].text("rule"), routers[name].text("entryPoints")))
		}
	}
	return nil, only
}

// with is list with one more Subject.
func (list stacks) with(group string, routers map[string]*element) stacks {
	st, only := list.find(group, routers)
	if st == nil {
		return append(list, &stack{group, only, routers})
	}
	for name, e := range routers {
		if st.routers[name] == nil {
			st.routers[name] = e
		}
	}
	return list
}

// differing is the name of the first router that the stack defines otherwise, ""
// for none. One that either does not have is no difference: a service may have
// routers on several containers on purpose.
func (st *stack) differing(routers map[string]*element) string {
	for _, name := range sortedNames(routers) {
		if theirs := st.routers[name]; theirs != nil && !routers[name].equal(theirs) {
			return name
		}
	}
	return ""
}

// routersTo are the routers that may lead to a service, directly or as a part of a
// weighted one.
func routersTo(service string, routers, services map[string]*element) map[string]*element {
	leading := maps.Clone(routers)
	maps.DeleteFunc(leading, func(_ string, router *element) bool {
		ref, _ := localName(router.text("service"))
		return ref != "" && ref != service && (services[ref] == nil || !services[ref].hasPart(service))
	})
	return leading
}

// hasPart says whether a weighted service is made of another, among others.
func (e *element) hasPart(service string) bool {
	for _, key := range e.below("weighted") {
		if name, _ := localName(e.values[key].text); name == service && strings.HasSuffix(key, "].name") {
			return true
		}
	}
	return false
}
