"""The dashboard at `/ui/`: pages made on the server, which work without JavaScript.

guard      who is signed in, whether a form is ours, what every answer's headers forbid
render     templates to bytes; everything that was not written here is text and nothing else
visit      one request by somebody who is signed in: it asks the endpoints of the API, there is no second way
forms      what was typed as the API takes it, and what is wrong beside its field: for all *_form
bulk       many at once, after saying how many                         export     a list as a file
routes     every address in one list
"""
