package configs

import (
	"strings"

	"golang.org/x/net/http/httpguts"

	"arzur.net/lb/rules"
)

// framing names the fields that belong to one connection or say where a message
// ends (RFC 9110 7.6.1, RFC 9112 6). Editing them would break the message.
var framing = map[string]bool{
	"connection": true, "content-length": true, "keep-alive": true, "proxy-connection": true,
	"te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

// requestEdit and responseEdit read {set: {k: v}, add: {k: v}, remove: [k]}.
func (v value) requestEdit() rules.HeaderEdit  { return v.headerEdit(true) }
func (v value) responseEdit() rules.HeaderEdit { return v.headerEdit(false) }

func (v value) headerEdit(request bool) rules.HeaderEdit {
	var e rules.HeaderEdit
	v.object(fields{
		"set": into(&e.Set, func(v value) []rules.HeaderField { return v.headerFields(request) }),
		"add": into(&e.Add, func(v value) []rules.HeaderField { return v.headerFields(false) }),
		"remove": func(v value) {
			for _, item := range v.items() {
				if name := item.text(); item.fieldName(name, false) {
					e.Remove = append(e.Remove, name)
				}
			}
		},
	})
	return e
}

// headerFields reads name: value pairs. A request has exactly one Host, so it
// may be set and nothing else.
func (v value) headerFields(hostAllowed bool) []rules.HeaderField {
	var list []rules.HeaderField
	for _, m := range v.members() {
		text := m.text()
		if !m.fieldName(m.key, hostAllowed) {
			continue
		}
		if !httpguts.ValidHeaderFieldValue(text) {
			m.fail("the value %q holds a control character; a field is one line", text)
			continue
		}
		list = append(list, rules.HeaderField{Name: m.key, Value: text})
	}
	return list
}

func (v value) fieldName(name string, hostAllowed bool) bool {
	lower := strings.ToLower(name)
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		v.fail("%q is no field name; want letters, digits and any of !#$%%&'*+-.^_`|~", name)
	case framing[lower]:
		v.fail("%s belongs to the connection or says where the message ends; it cannot be edited", name)
	case lower == "host" && !hostAllowed:
		v.fail("%s can only be set, and only in request_headers", name)
	default:
		return true
	}
	return false
}
