"""HTTP and MongoDB routes: publish, remove, list, poll."""

from __future__ import annotations

from typing import Annotated, TypeVar
from urllib.parse import quote

from litestar import Controller, Response, delete, get, post
from litestar.datastructures import CacheControlHeader
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from frontserver.api.dependencies import Call, Caller, OwnAgent, RouteCall, Routes
from frontserver.api.documentation import answers, described
from frontserver.api.examples import routes as examples
from frontserver.api.preferences import Wait
from frontserver.errors import InputError, NotFoundError
from frontserver.model.names import AgentId, PathPrefix, Subdomain
from frontserver.model.routes import RouteKey, RouteKind
from frontserver.model.status import RouteState, RouteStatus
from frontserver.services.routes import Published
from frontserver.wire.agents import Acknowledgement
from frontserver.wire.routes.answers import (
    HttpRouteAnswer,
    MongoRouteAnswer,
    RouteAnswer,
    RouteList,
)
from frontserver.wire.routes.options import MongoOptions
from frontserver.wire.routes.requests import (
    HttpRouteRequest,
    LegacyMongoRequest,
    MongoRouteRequest,
    RemoveRequest,
)

A = TypeVar("A", HttpRouteAnswer, MongoRouteAnswer)

_NEW = "Stored, and new; see `status`."
_REPLACED = "Stored: the caller's route is replaced; see `status`."
_PENDING = "Stored; HAProxy isn't there yet, and `Location` says where to look again."
_PUBLISHED_MONGODB = {
    201: (_NEW, examples.MONGO_ROUTE),
    200: (_REPLACED, examples.MONGO_ROUTE_UPDATED),
    202: (_PENDING, examples.MONGO_ROUTE_PENDING),
}
_PUBLISH_PROBLEMS = (400, 401, 403, 404, 409, 413, 415, 422, 429, 503)


class RouteController(Controller):
    """What HAProxy serves. A success means stored; `status` says whether HAProxy runs it."""

    tags = ("Routes",)
    cache_control = CacheControlHeader(no_store=True)

    @post(
        "/api/proxy/http",
        responses=answers(
            HttpRouteAnswer,
            {
                201: (_NEW, examples.HTTP_ROUTE),
                200: (_REPLACED, examples.HTTP_ROUTE_UPDATED),
                202: (_PENDING, examples.HTTP_ROUTE_PENDING),
            },
            problems=_PUBLISH_PROBLEMS,
        ),
        operation_class=described(bodies=examples.PUBLISH_HTTP, waits=True),
    )
    async def publish_http(
        self,
        data: JSONBody[HttpRouteRequest],
        call: RouteCall,
    ) -> Response[HttpRouteAnswer]:
        """Publish an HTTP route, or replace the caller's own."""
        done = await call.routes.publish_http(
            data, call.principal, peer=call.peer, wait=call.wait.seconds
        )
        body = HttpRouteAnswer(
            message=_sentence(done),
            agent_id=done.view.agent_id,
            subdomain=done.view.subdomain or "",
            domain=done.view.domain,
            path=done.view.path or UNSET,
            target_url=done.view.target_url or "",
            status=done.status.state,
            reason=done.status.reason or UNSET,
            reload=done.status.reload or UNSET,
            route=done.view,
        )
        return _stored(body, done, call.wait)

    @post(
        "/api/proxy/mongodb",
        responses=answers(MongoRouteAnswer, _PUBLISHED_MONGODB, problems=_PUBLISH_PROBLEMS),
        operation_class=described(bodies=examples.PUBLISH_MONGODB, waits=True),
    )
    async def publish_mongodb(
        self,
        data: JSONBody[MongoRouteRequest],
        call: RouteCall,
    ) -> Response[MongoRouteAnswer]:
        """Publish the agent's MongoDB route, or replace it."""
        return await _publish_mongodb(data, call)

    @post(
        "/api/mongodb/register",
        responses=answers(MongoRouteAnswer, _PUBLISHED_MONGODB, problems=_PUBLISH_PROBLEMS),
        operation_class=described(bodies=examples.REGISTER_MONGODB, waits=True),
    )
    async def register_mongodb_legacy(
        self,
        data: JSONBody[LegacyMongoRequest],
        call: RouteCall,
    ) -> Response[MongoRouteAnswer]:
        """The same as POST /api/proxy/mongodb, in the words of older agents."""
        request = MongoRouteRequest(
            agent_id=data.agent_id,
            target_host=data.target_ip,
            target_port=data.target_port,
            options=MongoOptions(use_tls=data.use_tls),
        )
        try:
            return await _publish_mongodb(request, call)
        except InputError as error:
            sent = {"targetHost": "targetIp", "options.useTls": "useTls"}
            field = sent.get(error.field, error.field)
            raise InputError(field, error.message, hint=error.hint) from error

    @get(
        "/api/proxy/agents/{agentId:str}",
        responses=answers(
            RouteList,
            {200: ("All routes of the agent.", examples.AGENT_ROUTES)},
            problems=(401, 403, 404, 422, 503),
        ),
        operation_class=described(),
    )
    async def list_agent_routes(self, own_agent: OwnAgent, routes: Routes) -> RouteList:
        """The routes of one agent."""
        return RouteList(agent_id=own_agent, routes=await routes.list_agent(own_agent))

    @get(
        "/api/proxy/routes",
        responses=answers(
            RouteList,
            {200: ("The caller's own routes; for an operator a page of all.", examples.ROUTES)},
            problems=(401, 403, 422, 503),
        ),
        operation_class=described(),
    )
    async def list_routes(
        self,
        principal: Caller,
        routes: Routes,
        after: Annotated[
            str | None, QueryParameter(description="`next` of the page before; operators only.")
        ] = None,
        limit: Annotated[
            int, QueryParameter(ge=1, le=1000, description="Routes a page; operators only.")
        ] = 100,
    ) -> RouteList:
        """The caller's own routes; an operator sees all, paged."""
        if principal.agent_id is not None:
            own = await routes.list_agent(principal.agent_id)
            return RouteList(routes=own, route_count=len(own))
        principal.require_operator()
        page, total, following = await routes.list_all(after=after, limit=limit)
        return RouteList(routes=page, route_count=total, next=following)

    @get(
        "/api/proxy/routes/{type:str}/{name:str}",
        responses=answers(
            RouteAnswer,
            {200: ("The route as it is now.", examples.ROUTE)},
            problems=(401, 403, 404, 503),
        ),
        operation_class=described(),
    )
    async def show_route(
        self,
        type: FromPath[str],  # noqa: A002 - the path's parameter, as the API names it
        name: FromPath[str],
        principal: Caller,
        routes: Routes,
        path: Annotated[
            str, QueryParameter(description="Where an HTTP route begins below its domain.")
        ] = "/",
    ) -> RouteAnswer:
        """One route by its type (`http`, `mongodb`) and its subdomain or agent: for polling."""
        view = await routes.show(_route_key(type, name, path))
        principal.require_agent(AgentId(view.agent_id))
        return RouteAnswer(
            status=view.status,
            reason=view.reason or UNSET,
            reload=view.reload or UNSET,
            route=view,
        )

    @delete(
        "/api/proxy",
        status_code=200,
        responses=answers(
            Acknowledgement,
            {
                200: ("Removed; see `status`.", examples.ROUTE_REMOVED),
                202: ("Removed here; HAProxy isn't there yet.", examples.ROUTE_REMOVAL_PENDING),
            },
            problems=(400, 401, 403, 404, 413, 415, 422, 503),
        ),
        operation_class=described(bodies=examples.REMOVE_ROUTE, body_required=False, waits=True),
    )
    async def remove_route(
        self,
        call: RouteCall,
        data: JSONBody[RemoveRequest | None] = None,
        agent_id: Annotated[str | None, QueryParameter(name="agentId")] = None,
        subdomain: Annotated[str | None, QueryParameter()] = None,
        kind: Annotated[str, QueryParameter(name="type")] = "http",
        path: Annotated[str | None, QueryParameter()] = None,
    ) -> Response[Acknowledgement]:
        """Remove a route. A body counts alone: query parameters beside it are ignored."""
        if data is None:
            if agent_id is None:
                raise InputError("agentId", "this field is required")
            data = RemoveRequest(agent_id, subdomain, kind, UNSET if path is None else path)
        status = await call.routes.remove(
            data, call.principal, peer=call.peer, wait=call.wait.seconds
        )
        return _removed(data, status, call.wait)


async def _publish_mongodb(request: MongoRouteRequest, call: Call) -> Response[MongoRouteAnswer]:
    done = await call.routes.publish_mongodb(
        request, call.principal, peer=call.peer, wait=call.wait.seconds
    )
    host = done.view.target_host or ""
    body = MongoRouteAnswer(
        message=_sentence(done),
        agent_id=done.view.agent_id,
        domain=done.view.domain,
        connection_string=done.connection_string or "",
        target_host=host,
        target_ip=host,
        target_port=done.view.target_port or request.target_port,
        status=done.status.state,
        reason=done.status.reason or UNSET,
        reload=done.status.reload or UNSET,
        route=done.view,
    )
    return _stored(body, done, call.wait)


def _stored(body: A, done: Published, wait: Wait) -> Response[A]:
    """201 for a new route, 200 for a replaced one, 202 with `Location` while it is pending.

    A failed route is stored all the same, so it is a success with `status` failed.
    """
    if done.status.state is RouteState.PENDING:
        view = done.view
        location = _location(body.type, view.subdomain or view.agent_id, view.path or UNSET)
        return Response(body, status_code=202, headers=wait.headers | location)
    return Response(body, status_code=201 if done.created else 200, headers=wait.headers)


def _removed(request: RemoveRequest, status: RouteStatus, wait: Wait) -> Response[Acknowledgement]:
    name = request.subdomain if request.type == RouteKind.HTTP else request.agent_id
    pending = status.state is RouteState.PENDING
    body = Acknowledgement(
        message={
            RouteState.ACTIVE: "the route is removed",
            RouteState.PENDING: "the route is removed here; HAProxy drops it when it can",
            RouteState.FAILED: f"the route is removed here, not in HAProxy: {status.reason}",
        }[status.state],
        # Of a removal, "active" means in force; as a word about a route it would mislead.
        status="removed" if status.state is RouteState.ACTIVE else status.state,
        reason=status.reason or UNSET,
        reload=status.reload or UNSET,
    )
    location = _location(request.type, name or "", request.path) if pending else {}
    return Response(body, status_code=202 if pending else 200, headers=wait.headers | location)


def _location(kind: str, name: str, path: str | UnsetType = UNSET) -> dict[str, str]:
    below = "" if path is UNSET or kind != RouteKind.HTTP else f"?path={quote(path)}"
    return {"Location": f"/api/proxy/routes/{kind}/{quote(name.lower(), safe='')}{below}"}


def _sentence(done: Published) -> str:
    verb = "created" if done.created else "updated"
    where = done.view.domain + (done.view.path or "")
    match done.status.state:
        case RouteState.ACTIVE:
            return f"the route {where} is {verb} and live"
        case RouteState.PENDING:
            return f"the route {where} is stored; HAProxy doesn't run it yet"
        case RouteState.FAILED:
            reason = done.status.reason or "no reason given"
            return f"the route {where} is stored, but failed: {reason}"


def _route_key(kind: str, name: str, path: str) -> RouteKey:
    """The key that a path names. Raises `NotFoundError` for one that no route can have."""
    try:
        match RouteKind(kind):
            case RouteKind.HTTP:
                return RouteKey.http(Subdomain(name, reserved=frozenset()), PathPrefix(path))
            case RouteKind.MONGODB:
                return RouteKey(RouteKind.MONGODB, AgentId(name))
    except (InputError, ValueError) as error:
        raise NotFoundError("there is no such route") from error
